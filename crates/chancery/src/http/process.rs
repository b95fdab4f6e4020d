//! This process, as the operating system sees it: processor time, memory, files, threads. Linux tells it in `/proc`.
//!
//! Names are those of Prometheus' own client libraries. Elsewhere there are none of them.

use std::fs;
use std::path::Path;

/// A number about the process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    /// The metric.
    pub(super) name: &'static str,
    /// Its value.
    pub(super) value: f64,
}

/// Ticks of `/proc/self/stat` a second: `USER_HZ`, which is part of Linux's interface and 100.
const TICKS: f64 = 100.0;

/// What each metric says, for descriptions.
pub(super) const DESCRIPTIONS: [(&str, &str); 7] = [
    ("process_cpu_seconds_total", "Processor time that the process has used"),
    ("process_resident_memory_bytes", "Memory that the process holds"),
    ("process_virtual_memory_bytes", "Address space of the process"),
    ("process_open_fds", "Open files and sockets"),
    ("process_max_fds", "Files and sockets that may be open"),
    ("process_threads", "Threads"),
    ("process_start_time_seconds", "When the process began, seconds since 1970"),
];

/// Everything that `/proc` tells; what cannot be read is left out.
pub(super) fn readings() -> Vec<Reading> {
    read(Path::new("/proc"))
}

fn read(proc: &Path) -> Vec<Reading> {
    let own = proc.join("self");
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let mut readings = Vec::new();
    let mut add = |name, value: Option<f64>| readings.extend(value.map(|value| Reading { name, value }));
    let stat = text(&own.join("stat"));
    // The second field is the program's name, in brackets, and may have anything in it.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    // Numbered as in proc(5), from 3 on.
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
    add("process_cpu_seconds_total", field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS));
    let status = text(&own.join("status"));
    add("process_resident_memory_bytes", kibibytes(&status, "VmRSS:"));
    add("process_virtual_memory_bytes", kibibytes(&status, "VmSize:"));
    add("process_threads", field(20));
    add("process_open_fds", fs::read_dir(own.join("fd")).ok().and_then(|open| count(open.count())));
    add("process_max_fds", after(&text(&own.join("limits")), "Max open files"));
    let booted = after(&text(&proc.join("stat")), "btime");
    add("process_start_time_seconds", field(22).zip(booted).map(|(ticks, booted)| booted + ticks / TICKS));
    readings
}

/// The first number behind a name at the beginning of a line.
fn after(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn kibibytes(status: &str, name: &str) -> Option<f64> {
    after(status, name).map(|kibibytes| kibibytes * 1_024.0)
}

fn count(files: usize) -> Option<f64> {
    u32::try_from(files).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_whatever_the_program_is_called() {
        let proc = tempfile::tempdir().unwrap();
        let own = proc.path().join("self");
        fs::create_dir_all(own.join("fd")).unwrap();
        fs::write(own.join("fd/0"), "").unwrap();
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 1000 0 0";
        fs::write(own.join("stat"), stat).unwrap();
        fs::write(own.join("status"), "Name:\tx\nVmSize:\t  20 kB\nVmRSS:\t  10 kB\n").unwrap();
        fs::write(own.join("limits"), "Limit  Soft\nMax open files            1024  4096  files\n").unwrap();
        fs::write(proc.path().join("stat"), "cpu 1\nbtime 1700000000\n").unwrap();
        let found: Vec<_> =
            read(proc.path()).into_iter().map(|reading| (reading.name, reading.value)).collect();
        assert_eq!(
            found,
            [
                ("process_cpu_seconds_total", 3.0),
                ("process_resident_memory_bytes", 10_240.0),
                ("process_virtual_memory_bytes", 20_480.0),
                ("process_threads", 9.0),
                ("process_open_fds", 1.0),
                ("process_max_fds", 1_024.0),
                ("process_start_time_seconds", 1_700_000_010.0),
            ]
        );
        assert!(found.iter().all(|(name, _)| DESCRIPTIONS.iter().any(|(described, _)| described == name)));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(read(Path::new("/nowhere")), []);
    }
}
