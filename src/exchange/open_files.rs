//! Files that are appended to again and again, of which only some may be open at a time.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::error::Result;
use crate::publish::append;

/// Keeps files open between appends, the least recently used of them closed first.
///
/// Every run goes through the files in the same order. With more files than may be open, plain
/// LRU would close each file just before it is wanted again, so a file makes way only if it was
/// not used in this run or the one before.
pub(super) struct OpenFiles {
    most: usize,
    state: Mutex<State>,
}

struct State {
    kept: LruCache<usize, (File, u64)>,
    run: u64,
}

impl OpenFiles {
    /// Makes a cache of at most `most` open files.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            state: Mutex::new(State {
                kept: LruCache::unbounded(),
                run: 0,
            }),
        }
    }

    /// Says that another run begins.
    pub(super) fn next_run(&self) {
        self.lock().run += 1;
    }

    /// Returns file number `number`, opened for appending if it is not open; the caller has it
    /// alone until it is put back.
    ///
    /// # Errors
    /// It can't be opened.
    pub(super) fn take(&self, number: usize, path: impl FnOnce() -> Box<Path>) -> Result<File> {
        let kept = self.lock().kept.pop(&number);
        match kept {
            Some((file, _)) => Ok(file),
            None => append(&path()),
        }
    }

    /// Keeps a file for the next run if there is room.
    pub(super) fn put_back(&self, number: usize, file: File) {
        let mut state = self.lock();
        let run = state.run;
        if state.kept.len() >= self.most {
            let is_stale = |(_, (_, used)): (&usize, &(File, u64))| *used + 1 < run;
            if !state.kept.peek_lru().is_some_and(is_stale) {
                return;
            }
            state.kept.pop_lru();
        }
        state.kept.put(number, (file, run));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn no_more_files_are_kept_open_than_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let files = OpenFiles::new(3);
        for run in 0..4 {
            files.next_run();
            for number in 0..10 {
                let path = || folder.path().join(number.to_string()).into_boxed_path();
                let mut file = files.take(number, path).unwrap();
                writeln!(file, "{run}").unwrap();
                files.put_back(number, file);
                assert!(files.lock().kept.len() <= 3);
            }
        }
        for number in 0..10 {
            let text = std::fs::read(folder.path().join(number.to_string())).unwrap();
            assert_eq!(text, b"0\n1\n2\n3\n");
        }
    }

    #[test]
    fn files_that_are_no_longer_used_make_way() {
        let folder = tempfile::tempdir().unwrap();
        let files = OpenFiles::new(1);
        let touch = |number: usize| {
            files.next_run();
            let path = || folder.path().join(number.to_string()).into_boxed_path();
            let file = files.take(number, path).unwrap();
            files.put_back(number, file);
        };
        touch(1);
        touch(2);
        assert!(files.lock().kept.contains(&1));
        touch(2);
        assert!(files.lock().kept.contains(&2));
    }
}
