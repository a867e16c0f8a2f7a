//! Many inputs into right-sized map tasks, always the same way.
//!
//! Inputs are taken oldest first, each into the first task that has room for it; one that is larger
//! than a task may be gets a task of its own. Or, where the number of tasks is given, they are cut in
//! their own order into so many stretches of about the same size.

use std::time::Duration;

/// How inputs are grouped.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchOptions {
    /// New inputs of fewer bytes wait for more.
    pub min_bytes: u64,
    /// Bytes of input that a task has at most; without it as many as it takes to have so few tasks that
    /// a reduce task can read from all of them.
    pub max_bytes: Option<u64>,
    /// Fewer new inputs wait for more.
    pub min_files: u64,
    /// Inputs that a task has at most.
    pub max_files: u64,
    /// New inputs older than this wait no longer.
    pub max_age: Option<Duration>,
    /// The number of map tasks, in place of their sizes.
    pub tasks: Option<u32>,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            min_bytes: 0,
            max_bytes: None,
            min_files: 1,
            max_files: 10_000,
            max_age: None,
            tasks: None,
        }
    }
}

/// Bytes of a task's inputs, unless somebody cares or there would be too many tasks.
const USUAL_BYTES: u64 = 4 << 30;

impl BatchOptions {
    /// Returns the bytes of input that a task has at most, where there are `total` bytes, and
    /// `most_tasks` tasks are as many as is good.
    pub(super) fn task_bytes(&self, total: u64, most_tasks: u32) -> u64 {
        match (self.tasks, self.max_bytes) {
            (Some(_), _) => u64::MAX,
            (None, Some(bytes)) => bytes.max(1),
            // Tasks are seldom quite full.
            (None, None) => USUAL_BYTES.max(total / u64::from(most_tasks.max(2)) / 3 * 4),
        }
    }
}

/// An input, or a part of one, as far as grouping goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchPart {
    /// Its bytes.
    pub(super) bytes: u64,
    /// When its file was changed last: nanoseconds since 1970.
    pub(super) modified_ns: u64,
}

/// Groups parts, so many bytes of them in each group where the number of groups is not given; returns the
/// numbers of each one's parts, ascending.
pub(super) fn group(parts: &[BatchPart], options: &BatchOptions, bytes: u64) -> Vec<Vec<u32>> {
    match options.tasks {
        Some(tasks) => stretches(parts, tasks),
        None => first_fit(parts, options, bytes),
    }
}

/// Cuts parts in their order into `tasks` groups of about the same size, or one each if there are
/// fewer parts.
fn stretches(parts: &[BatchPart], tasks: u32) -> Vec<Vec<u32>> {
    let tasks = (tasks.max(1) as usize).min(parts.len());
    let total: u128 = parts.iter().map(|part| u128::from(part.bytes)).sum();
    let mut groups: Vec<Vec<u32>> = vec![Vec::new(); tasks];
    let mut before = 0u128;
    let mut at = 0;
    for (number, part) in parts.iter().enumerate() {
        let left = parts.len() - number;
        let is_full = !groups.get(at).is_some_and(Vec::is_empty)
            // The middle of the part decides on which side of the border it lies.
            && (before + u128::from(part.bytes) / 2) * tasks as u128 > total * (at as u128 + 1);
        // Each group behind needs a part, too.
        let must_go_on = left < tasks - at;
        if at + 1 < tasks && (is_full || must_go_on) {
            at += 1;
        }
        if let Some(group) = groups.get_mut(at) {
            group.push(number as u32);
        }
        before += u128::from(part.bytes);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// Puts each part, oldest first, into the first group with room.
fn first_fit(parts: &[BatchPart], options: &BatchOptions, most: u64) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..parts.len() as u32).collect();
    order.sort_by_key(|number| (parts[*number as usize].modified_ns, *number));
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut rooms = Rooms::default();
    for number in order {
        let bytes = parts[number as usize].bytes;
        let fitting = match bytes > most {
            true => None,
            false => rooms.first(bytes),
        };
        let at = fitting.unwrap_or_else(|| {
            groups.push(Vec::new());
            rooms.push(most)
        });
        if let Some(group) = groups.get_mut(at) {
            group.push(number);
            let is_full = group.len() as u64 >= options.max_files.max(1);
            rooms.take(at, bytes, is_full);
        }
    }
    for group in &mut groups {
        group.sort_unstable();
    }
    groups
}

/// The room that each group has left, in a tree of maxima: the first with enough is found at once.
#[derive(Default)]
struct Rooms {
    /// Level by level, leaves first; nothing where there is no room for anything.
    levels: Vec<Vec<Option<u64>>>,
}

impl Rooms {
    /// Adds a group with so much room; returns its number.
    fn push(&mut self, room: u64) -> usize {
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        self.levels[0].push(None);
        let at = self.levels[0].len() - 1;
        self.set(at, Some(room));
        at
    }

    /// Takes room from group number `at`; a full one has none left.
    fn take(&mut self, at: usize, bytes: u64, is_full: bool) {
        let room = self.levels[0][at];
        let left = room.and_then(|room| room.checked_sub(bytes));
        self.set(at, left.filter(|_| !is_full));
    }

    fn set(&mut self, at: usize, room: Option<u64>) {
        let (mut at, mut level) = (at, 0);
        self.levels[0][at] = room;
        while self.levels[level].len() > 1 {
            let pair = at / 2;
            let both = &self.levels[level];
            let most = both[pair * 2].max(both.get(pair * 2 + 1).copied().flatten());
            if self.levels.len() == level + 1 {
                self.levels.push(Vec::new());
            }
            level += 1;
            let above = &mut self.levels[level];
            if above.len() <= pair {
                above.resize(pair + 1, None);
            }
            above[pair] = most;
            at = pair;
        }
    }

    /// Returns the first group with room for so much.
    fn first(&self, bytes: u64) -> Option<usize> {
        let has = |room: &Option<u64>| room.is_some_and(|room| room >= bytes);
        let top = self.levels.iter().rposition(|level| !level.is_empty())?;
        // Levels are made as they are needed, so the highest has one entry.
        let mut at = self.levels[top].iter().position(has)?;
        for level in self.levels[..top].iter().rev() {
            at *= 2;
            if !level.get(at).is_some_and(has) {
                at += 1;
            }
        }
        Some(at)
    }
}

/// Whether new inputs are to be worked on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// There are enough, or some are old enough.
    Now,
    /// They wait for more.
    Later,
}

/// Says whether new inputs are due, given the nanoseconds since 1970.
pub(super) fn due(parts: &[BatchPart], options: &BatchOptions, now_ns: u64) -> Due {
    let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
    let is_enough = bytes >= options.min_bytes && parts.len() as u64 >= options.min_files;
    let is_old = |part: &BatchPart| {
        let age = Duration::from_nanos(now_ns.saturating_sub(part.modified_ns));
        options.max_age.is_some_and(|most| age > most)
    };
    match is_enough || parts.iter().any(is_old) {
        true => Due::Now,
        false => Due::Later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(sizes: &[(u64, u64)]) -> Vec<BatchPart> {
        let part = |(bytes, modified_ns): &(u64, u64)| BatchPart {
            bytes: *bytes,
            modified_ns: *modified_ns,
        };
        sizes.iter().map(part).collect()
    }

    fn options(max_files: u64) -> BatchOptions {
        BatchOptions {
            max_files,
            ..BatchOptions::default()
        }
    }

    #[test]
    fn tasks_grow_with_what_there_is() {
        let options = BatchOptions::default();
        assert_eq!(options.task_bytes(1 << 30, 1000), 4 << 30);
        assert_eq!(options.task_bytes(3 << 40, 1000), (3 << 40) / 3000 * 4);
        let file = (22_500_000, 0);
        let parts = parts(&vec![file; 1_600_000]);
        let bytes = options.task_bytes(36_000_000_000_000, 1000);
        let groups = group(&parts, &options, bytes);
        assert!((700..1000).contains(&groups.len()), "{}", groups.len());
        let given = BatchOptions {
            max_bytes: Some(7),
            ..BatchOptions::default()
        };
        assert_eq!(given.task_bytes(3 << 40, 1000), 7);
    }

    #[test]
    fn the_oldest_come_first_and_go_where_there_is_room() {
        // By age: 2 (60), 0 (50), 1 (40), 3 (30), 4 (200).
        let parts = parts(&[(50, 2), (40, 3), (60, 1), (30, 4), (200, 5)]);
        assert_eq!(
            group(&parts, &options(9), 100),
            [vec![1, 2], vec![0, 3], vec![4]]
        );
        assert_eq!(
            group(&parts, &options(1), 100),
            [vec![2], vec![0], vec![1], vec![3], vec![4]]
        );
        assert_eq!(group(&[], &options(1), 100), Vec::<Vec<u32>>::new());
    }

    #[test]
    fn the_tree_of_rooms_finds_what_a_plain_search_finds() {
        let mut random = 1u64;
        let mut next = |most: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % most
        };
        for _ in 0..50 {
            let sizes: Vec<(u64, u64)> = (0..200).map(|_| (next(120), next(50))).collect();
            let parts = parts(&sizes);
            let options = options(1 + next(6));
            let mut order: Vec<usize> = (0..parts.len()).collect();
            order.sort_by_key(|at| (parts[*at].modified_ns, *at));
            let mut plain: Vec<(u64, Vec<u32>)> = Vec::new();
            for at in order {
                let bytes = parts[at].bytes;
                let fits = plain.iter_mut().find(|(sum, group)| {
                    sum + bytes <= 100 && (group.len() as u64) < options.max_files
                });
                match fits {
                    Some((sum, group)) => {
                        *sum += bytes;
                        group.push(at as u32);
                    }
                    None => plain.push((bytes, vec![at as u32])),
                }
            }
            let plain: Vec<Vec<u32>> = plain
                .into_iter()
                .map(|(_, mut group)| {
                    group.sort_unstable();
                    group
                })
                .collect();
            assert_eq!(group(&parts, &options, 100), plain);
        }
    }

    #[test]
    fn a_number_of_tasks_is_kept() {
        for count in [1usize, 5, 24, 100] {
            let sizes: Vec<(u64, u64)> = (0..count as u64).map(|at| (10 + at % 7, at)).collect();
            let parts = parts(&sizes);
            for tasks in [1u32, 3, 20, 24] {
                let options = BatchOptions {
                    tasks: Some(tasks),
                    ..BatchOptions::default()
                };
                let groups = group(&parts, &options, 0);
                assert_eq!(groups.len(), count.min(tasks as usize), "{count} {tasks}");
                let all: Vec<u32> = groups.concat();
                assert_eq!(all, (0..count as u32).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn new_inputs_wait_for_more_but_not_for_ever() {
        let parts = parts(&[(50, 1_000_000_000), (40, 2_000_000_000)]);
        let options = BatchOptions {
            min_bytes: 100,
            max_age: Some(Duration::from_secs(60)),
            ..BatchOptions::default()
        };
        assert_eq!(due(&parts, &options, 50_000_000_000), Due::Later);
        assert_eq!(due(&parts, &options, 62_000_000_000), Due::Now);
        let few = BatchOptions {
            min_bytes: 90,
            min_files: 3,
            ..BatchOptions::default()
        };
        assert_eq!(due(&parts, &few, 0), Due::Later);
        assert_eq!(
            due(
                &parts,
                &BatchOptions {
                    min_files: 2,
                    ..few
                },
                0
            ),
            Due::Now
        );
    }
}
