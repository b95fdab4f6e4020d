//! A changed or cut file is never verified.

use std::thread;

use super::world::{World, claims};
use super::{judge, read, text};
use crate::{Ask, Verdict};

/// Judges every case on all processors; gives those that came out as verified.
fn verified(cases: &[(String, Vec<u8>)], root: &str) -> Vec<String> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let chunk = cases.len().div_ceil(threads).max(1);
    let judge_all = |cases: &[(String, Vec<u8>)]| {
        let of = cases.iter().filter(|(_, evidence)| {
            judge(evidence, Some(root), &Ask::default()).verdict == Verdict::Verified
        });
        of.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let parts: Vec<_> = cases.chunks(chunk).map(|part| scope.spawn(move || judge_all(part))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

/// Changes one byte at a time.
fn assert_none_verified(file: &[u8], changes: impl Iterator<Item = (usize, u8)>, root: &str) {
    let mut changes = changes.peekable();
    while changes.peek().is_some() {
        let case = |(at, value): (usize, u8)| {
            let mut changed = file.to_vec();
            changed[at] = value;
            (format!("byte {at} of {}: {} became {value}", file.len(), file[at]), changed)
        };
        let cases: Vec<_> = changes.by_ref().take(4096).map(case).collect();
        assert_eq!(verified(&cases, root), Vec::<String>::new());
    }
}

/// The smallest file that is verified: one decision.
fn small() -> (Vec<u8>, String) {
    let mut world = World::new(claims());
    world.decide("claim-1", "{\"amount\":500}");
    (world.export(), world.root_pub())
}

#[test]
fn every_changed_byte_of_a_file_keeps_it_from_being_verified() {
    let (file, root) = small();
    assert_eq!(judge(&file, Some(&root), &Ask::default()).verdict, Verdict::Verified);
    // One bit of every byte, and of some bytes all bits and what means something in JSON.
    assert_none_verified(&file, (0..file.len()).map(|at| (at, file[at] ^ (1 << (at % 8)))), &root);
    let some = (0..file.len()).step_by(61);
    let values = |at: usize| {
        let bits = (0..8).map(move |bit| 1_u8 << bit).map(move |bit| (at, bit));
        bits.map(|(at, bit)| (at, file[at] ^ bit))
            .chain(b"\"\\{}, \n0A".iter().map(move |value| (at, *value)))
    };
    let changes = some.flat_map(values).filter(|(at, value)| file[*at] != *value);
    assert_none_verified(&file, changes, &root);
}

#[test]
fn changed_bytes_of_the_good_vectors_keep_them_from_being_verified() {
    for (name, root) in [
        ("good.evidence.jsonl", "root.pub"),
        ("good-newest-root.evidence.jsonl", "root-2.pub"),
        ("good-range.evidence.jsonl", "root.pub"),
        ("good-range-with-activation.evidence.jsonl", "root.pub"),
        ("good-filtered.evidence.jsonl", "root.pub"),
        ("good-open-tenant.evidence.jsonl", "root.pub"),
    ] {
        let file = read(name);
        assert_eq!(judge(&file, Some(&text(root)), &Ask::default()).verdict, Verdict::Verified, "{name}");
        // A prime step comes to another place of every line.
        let changes = (0..file.len()).step_by(151).map(|at| (at, file[at] ^ (1 << (at % 8))));
        assert_none_verified(&file, changes, &text(root));
    }
}

#[test]
fn a_cut_file_is_never_verified() {
    let (small, small_root) = small();
    let good = read("good.evidence.jsonl");
    for (file, root, step) in [(small, small_root, 17), (good, text("root.pub"), 211)] {
        let ends = |byte: &(usize, &u8)| *byte.1 == b'\n';
        let lines = file.iter().enumerate().filter(ends).flat_map(|(at, _)| [at, at + 1, at + 2]);
        let cuts = lines.chain((0..file.len()).step_by(step)).filter(|at| *at < file.len());
        let cases: Vec<_> = cuts.map(|at| (format!("cut to {at} bytes"), file[..at].to_vec())).collect();
        assert_eq!(verified(&cases, &root), Vec::<String>::new());
    }
}

#[test]
fn a_file_with_something_behind_it_is_never_verified() {
    let (file, root) = small();
    let last = file[..file.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for more in [&b"\n"[..], b" ", b"{}\n", b"\0", &file[last..], &file] {
        let longer = [&file, more].concat();
        assert_eq!(verified(&[("longer".to_owned(), longer)], &root), Vec::<String>::new(), "{more:?}");
    }
}
