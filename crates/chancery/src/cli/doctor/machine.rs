//! The machine: its clock, and the room on its disks.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chancery_core::time::Timestamp;
use chancery_runtime::Clock;
use chancery_runtime::records::Records;

use super::{Diagnosis, Doctor};
use crate::http::health::{self, DISK_BYTES_MIN};

/// Less room than this is told before it is too little.
const DISK_BYTES_ROOMY: u64 = 16 * DISK_BYTES_MIN;

/// What the wall clock may differ from the time that has gone by.
const STEP_MAX: Duration = Duration::from_secs(1);

const CLOCK_FIX: &str = "run one program that keeps the clock, such as chrony or systemd-timesyncd; docs/runbook.md, \
                         \"The clock\", says what a wrong clock does";

/// What programs that keep the clock leave behind while they do.
const KEEPERS: [(&str, &str); 4] = [
    ("run/systemd/timesync/synchronized", "systemd-timesyncd"),
    ("run/chrony/chronyd.pid", "chrony"),
    ("run/ntpd.pid", "ntpd"),
    ("run/openntpd.pid", "OpenNTPD"),
];

/// What container engines leave behind in a container.
const CONTAINERS: [&str; 3] = [".dockerenv", "run/.containerenv", "var/run/secrets/kubernetes.io"];

/// Whether the clock ran as time did.
pub(super) struct Steady {
    wall: Timestamp,
    monotonic: Instant,
}

impl Steady {
    pub(super) fn begin(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), monotonic: Instant::now() }
    }

    /// Tells a clock that was set meanwhile.
    pub(super) fn end(self, clock: &dyn Clock, diagnosis: &mut Diagnosis) {
        let gone_ms = clock.now().saturating_diff_ms(self.wall);
        let real_ms = i64::try_from(self.monotonic.elapsed().as_millis()).unwrap_or(i64::MAX);
        let off_ms = gone_ms.saturating_sub(real_ms);
        if u128::from(off_ms.unsigned_abs()) > STEP_MAX.as_millis() {
            let what = format!("the clock was set by {off_ms} ms while this command ran");
            diagnosis.warn("clock", what, CLOCK_FIX);
        }
    }
}

/// What keeps the clock, as far as files below `root` show it.
fn keeper(root: &Path) -> Option<&'static str> {
    let running = KEEPERS.iter().find(|(file, _)| root.join(file).exists()).map(|(_, name)| *name);
    let contained =
        || CONTAINERS.iter().any(|file| root.join(file).exists()).then_some("the container's host");
    running.or_else(contained)
}

impl Doctor<'_> {
    /// The clock against the log, and what keeps it right.
    pub(super) fn clock(&self, records: Option<&Records>, diagnosis: &mut Diagnosis) {
        match records.map(|records| health::clock(records, self.now)) {
            None => diagnosis.skipped("clock", "the database"),
            Some(Ok(())) => {
                diagnosis.ok("clock", format!("{}, not behind the newest decision", self.now));
            }
            Some(Err(what)) => diagnosis.fail("clock", what, CLOCK_FIX),
        }
        match keeper(Path::new("/")) {
            Some(keeper) => diagnosis.ok("clock", format!("kept by {keeper}")),
            None => diagnosis.warn("clock", "nothing is seen that keeps it right", CLOCK_FIX),
        }
    }

    /// Room where something is written: beside the database, and where the publisher's memory lies.
    pub(super) fn disk(&self, diagnosis: &mut Diagnosis) {
        let files = self.config.database.file().into_iter().chain([self.config.checkpoint_file.as_path()]);
        let mut folders: Vec<PathBuf> = files.map(|file| health::folder_of(file).to_owned()).collect();
        folders.dedup();
        for folder in folders {
            // A folder that is made with its first file: the room is that of the one above it.
            let there = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
            room(&folder, health::free_bytes(there), diagnosis);
        }
    }
}

fn room(folder: &Path, free: Result<u64, String>, diagnosis: &mut Diagnosis) {
    let shown = folder.display();
    let fix = format!("free some space on the disk of `{shown}`, or move it to a larger one");
    match free {
        Err(what) => diagnosis.fail("disk", format!("`{shown}`: {what}"), format!("make `{shown}` readable")),
        Ok(free) if free < DISK_BYTES_MIN => {
            diagnosis.fail(
                "disk",
                format!("{free} bytes are free at `{shown}`, {DISK_BYTES_MIN} are needed"),
                fix,
            );
        }
        Ok(free) if free < DISK_BYTES_ROOMY => {
            let what =
                format!("only {free} bytes are free at `{shown}`; below {DISK_BYTES_MIN} nothing is decided");
            diagnosis.warn("disk", what, fix);
        }
        Ok(free) => diagnosis.ok("disk", format!("{} GiB are free at `{shown}`", free >> 30)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::super::Status;
    use super::*;

    #[test]
    fn too_little_room_is_a_fault_and_little_room_a_warning() {
        for (free, status) in [
            (Ok(DISK_BYTES_MIN - 1), Status::Fail),
            (Ok(DISK_BYTES_MIN), Status::Warn),
            (Ok(DISK_BYTES_ROOMY), Status::Ok),
            (Err("no such folder".to_owned()), Status::Fail),
        ] {
            let mut diagnosis = Diagnosis::new();
            room(Path::new("/data"), free.clone(), &mut diagnosis);
            assert_eq!(diagnosis.status, status, "{free:?}");
            let [line] = diagnosis.checks.as_slice() else { panic!("{diagnosis:?}") };
            assert_eq!(line.fix.is_some(), status != Status::Ok);
            assert!(line.what.contains("/data"));
        }
    }

    #[test]
    fn what_keeps_the_clock_is_seen() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(keeper(root.path()), None);
        std::fs::write(root.path().join(".dockerenv"), "").unwrap();
        assert_eq!(keeper(root.path()), Some("the container's host"));
        std::fs::create_dir_all(root.path().join("run/chrony")).unwrap();
        std::fs::write(root.path().join("run/chrony/chronyd.pid"), "1").unwrap();
        assert_eq!(keeper(root.path()), Some("chrony"));
    }

    #[test]
    fn a_clock_that_is_set_meanwhile_is_told() {
        struct Set(AtomicI64);
        impl Clock for Set {
            fn now(&self) -> Timestamp {
                Timestamp::from_unix_micros(self.0.load(Ordering::Relaxed)).unwrap()
            }
        }
        for (step_micros, told) in [(0, false), (-3_600_000_000, true), (3_600_000_000, true)] {
            let clock = Set(AtomicI64::new(1_800_000_000_000_000));
            let steady = Steady::begin(&clock);
            clock.0.fetch_add(step_micros, Ordering::Relaxed);
            let mut diagnosis = Diagnosis::new();
            steady.end(&clock, &mut diagnosis);
            assert_eq!(diagnosis.status == Status::Warn, told, "{step_micros}: {diagnosis:?}");
        }
    }
}
