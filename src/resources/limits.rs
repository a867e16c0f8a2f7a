//! Limits that the machine or the batch system sets, and sizes as people write them.
//!
//! The library reads no environment: what Slurm says is handed in by the command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A size: an absolute number of bytes or a share of the memory at hand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ByteSize {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the memory at hand.
    Percent(f64),
}

impl ByteSize {
    /// Returns the size in bytes, given the memory at hand.
    pub fn of(self, available: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Memory sizes lie far below 2^53, and the share is rounded down.
            Self::Percent(percent) => (available as f64 * percent / 100.0) as u64,
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || format!("'{text}' is not a size; write for example 512MiB, 2GiB or 50%");
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            return if percent > 0.0 && percent <= 100.0 {
                Ok(Self::Percent(percent))
            } else {
                Err(wrong())
            };
        }
        let digits = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kib" => 1024.0,
            "m" | "mib" => 1024.0 * 1024.0,
            "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
            "t" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            _ => return Err(wrong()),
        };
        let bytes = number * factor;
        if (1.0..1e18).contains(&bytes) {
            Ok(Self::Bytes(bytes as u64))
        } else {
            Err(wrong())
        }
    }
}

/// Returns how many threads the cpuset and the cgroup allow; at least 1.
pub fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the bytes of memory at hand: the cgroup's limit, else the machine's memory.
pub fn available_memory() -> Option<u64> {
    let machine = machine_memory();
    match (cgroup_memory(), machine) {
        (Some(cgroup), Some(machine)) => Some(cgroup.min(machine)),
        (cgroup, machine) => cgroup.or(machine),
    }
}

/// Returns the largest resident size of this process so far, in bytes, where the system tells.
pub fn process_peak_bytes() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Returns the resident size of this process now, in bytes, where the system tells.
pub fn process_bytes() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Lets this process have so many files open at once, if it may not already.
///
/// # Errors
/// The system allows fewer; how many.
pub fn raise_open_files(wanted: u64) -> Result<(), u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
    let raised = setrlimit(Resource::Nofile, limit);
    match open_files_limit() {
        Some(now) if now < wanted || raised.is_err() => Err(now),
        _ => Ok(()),
    }
}

/// Returns how many files this process may have open at once; nothing if any number.
pub fn open_files_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Says whether what is written below `path` stays in memory (tmpfs, ramfs).
pub fn is_in_memory(path: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    // The type of the field differs between systems; the magic numbers have 32 bits.
    rustix::fs::statfs(path).is_ok_and(|found| {
        let kind = found.f_type as u64 & 0xffff_ffff;
        kind == TMPFS || kind == RAMFS
    })
}

/// Returns the bytes that this user may still write below `path`, which may not be there yet; nothing
/// where the system does not tell.
pub fn free_space(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().find(|folder| folder.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn machine_memory() -> Option<u64> {
    kib_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// Returns the smallest limit of this process's cgroup and those above it.
fn cgroup_memory() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let v2 = own.lines().find_map(|line| line.strip_prefix("0::"));
    let v1 = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_memory = controllers.split(',').any(|name| name == "memory");
        is_memory.then_some(path)
    });
    let v2 = v2.and_then(|path| smallest_limit("/sys/fs/cgroup", path, "memory.max"));
    let v1 =
        v1.and_then(|path| smallest_limit("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"));
    v1.into_iter().chain(v2).min()
}

/// Reads the smallest limit in the files `name` from the cgroup `path` up to `root`.
fn smallest_limit(root: &str, path: &str, name: &str) -> Option<u64> {
    let mut folder = PathBuf::from(root);
    folder.push(path.trim_start_matches('/'));
    let mut smallest: Option<u64> = None;
    while folder.starts_with(root) {
        let limit = fs::read_to_string(folder.join(name))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        smallest = match (smallest, limit) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if !folder.pop() {
            break;
        }
    }
    smallest
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = value.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! sizes {
        ($($text:literal => $expected:expr;)*) => {
            #[test]
            fn sizes_as_people_write_them() {
                $(assert_eq!($text.parse::<ByteSize>().ok(), $expected, "{}", $text);)*
            }
        };
    }

    sizes! {
        "512MiB" => Some(ByteSize::Bytes(512 << 20));
        "1.5GiB" => Some(ByteSize::Bytes(3 << 29));
        "2g" => Some(ByteSize::Bytes(2 << 30));
        "10kB" => Some(ByteSize::Bytes(10_000));
        "4096" => Some(ByteSize::Bytes(4096));
        "50%" => Some(ByteSize::Percent(50.0));
        "0" => None;
        "110%" => None;
        "-3MiB" => None;
        "lots" => None;
    }

    #[test]
    fn this_process_has_a_peak() {
        assert!(process_peak_bytes().is_none_or(|bytes| bytes > 1 << 20));
    }
}
