//! The list of a job's inputs, read by map task.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use xxhash_rust::xxh3::xxh3_64;

use super::folder::{INPUTS_FILE, JobFolder};
use super::name::JobId;
use super::plan::{InputLine, MapPlan, Plan, Source, damaged};
use crate::error::{Error, Result};

/// Reads the lines of a map task.
pub(super) fn read_lines(folder: &JobFolder, map: &MapPlan) -> Result<Vec<InputLine>> {
    let path = folder.file(INPUTS_FILE);
    let reading = |error| Error::reading(&path, error);
    let mut bytes = vec![0; usize::try_from(map.length).unwrap_or(0)];
    let file = File::open(&path).map_err(reading)?;
    file.read_exact_at(&mut bytes, map.offset)
        .map_err(reading)?;
    if format!("{:016x}", xxh3_64(&bytes)) != map.digest {
        return Err(damaged("the list of inputs is not what the plan says"));
    }
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let lines: Result<Vec<InputLine>, _> = lines.map(serde_json::from_slice).collect();
    lines.map_err(|_| damaged("the list of inputs is damaged"))
}

/// The inputs of map tasks of a job and of earlier ones, whose plans are read once.
pub(super) struct InputLines<'j> {
    folder: &'j JobFolder,
    plan: &'j Plan,
    earlier: BTreeMap<JobId, Plan>,
}

impl<'j> InputLines<'j> {
    /// Begins with the plan of the job itself.
    pub(super) fn new(folder: &'j JobFolder, plan: &'j Plan) -> Self {
        Self {
            folder,
            plan,
            earlier: BTreeMap::new(),
        }
    }

    /// Reads the inputs of a map task.
    ///
    /// # Errors
    /// A plan or a list can't be read or is damaged.
    pub(super) fn of(&mut self, source: &Source) -> Result<Vec<InputLine>> {
        let of = self.folder.of_source(source);
        if let Some(job) = &source.job
            && !self.earlier.contains_key(job)
        {
            self.earlier.insert(job.clone(), of.plan()?);
        }
        let plan = match &source.job {
            None => Some(self.plan),
            Some(job) => self.earlier.get(job),
        };
        let at = (source.number as usize).checked_sub(1);
        let map = plan.zip(at).and_then(|(plan, at)| plan.maps.get(at));
        read_lines(&of, map.ok_or_else(|| damaged("a map task is lacking"))?)
    }
}
