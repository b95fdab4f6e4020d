//! Files of the vectors line by line, and lines that must be refused.

#![expect(clippy::as_conversions, reason = "the sizes of test data fit every integer type")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::b64;
use crate::digest::{Digest, RecordId, RootHash, sha256};
use crate::dsse::Envelope;
use crate::key::{Signer as _, SigningKey};

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/vectors/chancery/evidence"].iter().collect()
}

fn file(name: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{name}.evidence.jsonl"))).unwrap()
}

fn good_files() -> Vec<Vec<u8>> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("good") && name.ends_with(".evidence.jsonl")
    });
    assert_eq!(names.len(), 7);
    names.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn raw_lines(bytes: &[u8]) -> Vec<RawLine> {
    Reader::new(bytes).map(Result::unwrap).collect()
}

fn lines(bytes: &[u8]) -> Vec<Line> {
    raw_lines(bytes).iter().map(|raw| raw.parse_exact().unwrap()).collect()
}

fn signer() -> SigningKey {
    SigningKey::generate_ed25519([3; 32])
}

#[test]
fn every_line_of_every_good_file_is_written_again_to_the_same_bytes() {
    for bytes in good_files() {
        let mut reader = Reader::new(&bytes[..]);
        let mut kinds = Vec::new();
        let mut offset = 0;
        while let Some(raw) = reader.next_line().unwrap() {
            assert_eq!((raw.fault, raw.number, raw.offset), (None, reader.lines(), offset));
            offset += raw.bytes.len() as u64 + 1;
            assert_eq!(reader.bytes(), offset);
            let line = raw.parse_exact().unwrap();
            assert_eq!(line.encode().unwrap().as_bytes(), raw.bytes);
            kinds.push(line.kind());
            if let Line::Trailer(trailer) = line {
                let before = Digest::from_bytes(sha256(&bytes[..raw.offset as usize]));
                assert_eq!(reader.sha256_before_last(), before);
                assert_eq!(trailer.check(raw.number - 1, &reader.sha256_before_last()), Ok(()));
                assert_eq!(
                    trailer.check(raw.number, &before),
                    Err(TrailerError::Lines { claimed: raw.number - 1, found: raw.number })
                );
                assert_eq!(trailer.check(raw.number - 1, &reader.sha256()), Err(TrailerError::Sha256));
            }
        }
        assert_eq!(kinds[0], "header");
        assert_eq!(*kinds.last().unwrap(), "trailer");
        assert!(kinds.contains(&"keyring") && kinds.contains(&"decision") && kinds.contains(&"bundle"));
        assert_eq!(reader.sha256(), Digest::from_bytes(sha256(&bytes)));
    }
}

#[test]
fn a_file_written_from_its_values_is_the_same_up_to_the_trailer() {
    for bytes in good_files() {
        let mut lines = lines(&bytes).into_iter();
        let Some(Line::Header(header)) = lines.next() else { panic!("no header") };
        let mut writer = Writer::new(Vec::new(), &header).unwrap();
        let mut theirs = None;
        for line in lines {
            match line {
                Line::Header(_) => panic!("two headers"),
                Line::Keyring(line) => writer.keyring(&line).unwrap(),
                Line::Bundle(line) => writer.bundle(&line).unwrap(),
                Line::Build(line) => writer.build(&line).unwrap(),
                Line::Entry(line) => writer.entry(&line).unwrap(),
                Line::Trailer(trailer) => theirs = Some(trailer),
            }
        }
        let (before, count) = (writer.bytes(), writer.lines());
        let (written, ours) = writer.finish(&signer()).unwrap();
        assert_eq!(written[..before as usize], bytes[..before as usize]);
        let theirs = theirs.unwrap();
        assert_eq!((ours.lines, ours.sha256), (theirs.lines, theirs.sha256));
        assert_eq!(ours.lines, count);
        assert_eq!(ours.signature.payload, theirs.signature.payload);
        assert_eq!(ours.signature.payload_type, theirs.signature.payload_type);
        assert!(ours.signature.verify(&[signer().public_key()], 1).is_ok());

        let last = raw_lines(&written).pop().unwrap();
        assert_eq!(last.parse_exact().unwrap(), Line::Trailer(ours));
    }
}

#[test]
fn files_that_were_spoilt_are_refused_where_they_were() {
    let fault = |name: &str| -> Vec<(u64, String)> {
        raw_lines(&file(name))
            .iter()
            .filter_map(|raw| match (raw.fault, raw.parse_exact()) {
                (Some(fault), _) => Some((raw.number, fault.to_string())),
                (None, Err(error)) => Some((raw.number, error.to_string())),
                (None, Ok(_)) => None,
            })
            .collect()
    };
    assert_eq!(fault("good"), []);
    assert_eq!(fault("empty"), []);
    let only = |name: &str, part: &str| {
        let faults = fault(name);
        assert!(matches!(&faults[..], [(_, text)] if text.contains(part)), "{name}: {faults:?}");
    };
    only("space-in-line", "not in canonical form");
    only("member-twice", "duplicate field");
    only("unknown-version", "chancery.evidence/v2");
    only("cut-in-line", "does not end in a newline");
    only("extra-bytes", "missing field `kind`");
    // A trailer that is gone is the verifier's to miss.
    only_lines("cut-last-line");
}

fn only_lines(name: &str) {
    assert!(lines(&file(name)).iter().all(|line| line.kind() != "trailer"));
}

#[test]
fn a_trailer_of_something_else_does_not_fit() {
    let sha256 = Digest::of(b"file");
    let good = Trailer::sign(7, sha256, &signer()).unwrap();
    assert_eq!(good.check(7, &sha256), Ok(()));
    let payload = String::from_utf8(good.signature.payload.0.clone()).unwrap();
    assert_eq!(payload, format!(r#"{{"kind":"trailer","lines":7,"sha256":"{sha256}"}}"#));
    let mut other = good.clone();
    other.signature = Trailer::sign(8, sha256, &signer()).unwrap().signature;
    assert_eq!(other.check(7, &sha256), Err(TrailerError::Payload));
    let mut other = good;
    other.signature = Envelope::sign(crate::dsse::IN_TOTO, payload.into_bytes(), &signer()).unwrap();
    assert_eq!(other.check(7, &sha256), Err(TrailerError::PayloadType));
    assert!(Trailer::sign(1 << 53, sha256, &signer()).is_err());
}

/// One line of each kind, from the file that proves its entries.
fn one_of_each() -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::new();
    for bytes in [file("good-filtered"), file("good")] {
        for raw in raw_lines(&bytes) {
            let kind = raw.parse_exact().unwrap().kind();
            found.entry(kind).or_insert_with(|| String::from_utf8(raw.bytes).unwrap());
        }
    }
    found
}

#[test]
fn members_that_a_line_does_not_have_are_refused() {
    let samples = one_of_each();
    assert_eq!(samples.len(), 13, "{:?}", samples.keys());
    for (kind, line) in samples {
        // At the end, where the order is right too.
        let more = format!("{},\"zz\":1}}", line.strip_suffix('}').unwrap());
        let error = Line::parse(more.as_bytes()).unwrap_err();
        assert!(matches!(error, LineError::Form(_)) && error.to_string().contains("unknown field"), "{kind}");
        let null = line.replacen(r#""proof":["#, r#""proof":null,"zz":["#, 1);
        if null != line {
            assert!(matches!(Line::parse(null.as_bytes()), Err(LineError::Form(_))), "{kind}");
        }
        for (from, to) in [(":", ": "), ("{", "{ "), ("\"kind\"", "\"\\u006bind\"")] {
            let spelt = line.replacen(from, to, 1);
            assert!(Line::parse(spelt.as_bytes()).is_ok(), "{kind} {from}");
            let error = Line::parse_exact(spelt.as_bytes());
            assert!(matches!(error, Err(LineError::NotCanonical { .. })), "{kind} {from}");
        }
        for cut in [&line[1..], &line[..line.len() - 1], &format!("{line}\n{line}"), &format!("[{line}]")] {
            assert!(matches!(Line::parse(cut.as_bytes()), Err(LineError::Form(_))), "{kind}");
        }
    }
}

fn refused(line: &str) -> LineError {
    Line::parse(line.as_bytes()).unwrap_err()
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let samples = one_of_each();
    let header = &samples["header"];
    let change = |from: &str, to: &str| {
        let changed = header.replacen(from, to, 1);
        assert_ne!(changed, *header);
        changed
    };
    let both = change(r#""range":null"#, r#""range":{"from":0,"to":3}"#);
    assert!(matches!(refused(&both), LineError::RangeAndFilter));
    let plain = both.replacen(r#"{"executionIds":["claim-D2","claim-D9"]}"#, "{}", 1);
    let plain = plain.replacen(r#"{"executionIds":["claim-D1"]}"#, "{}", 1);
    assert!(Line::parse_exact(plain.as_bytes()).is_ok(), "{plain}");
    let backwards = plain.replacen(r#""from":0"#, r#""from":4"#, 1);
    assert!(matches!(refused(&backwards), LineError::Range { from: 4, to: 3 }));
    let large = plain.replacen(r#""to":3"#, r#""to":9007199254740992"#, 1);
    assert!(matches!(Line::parse_exact(large.as_bytes()), Err(LineError::NoCanonicalForm(_))));

    for (from, to) in [
        (r#","range":null"#, ""),
        (r#""range":null"#, r#""range":{"from":0}"#),
        (r#""range":null"#, r#""range":{"from":0,"to":1.0}"#),
        (r#""range":null"#, r#""range":{"from":-1,"to":1}"#),
        (r#""filter":{"#, r#""filter":{"outcome":null,"#),
        (r#""filter":{"#, r#""filter":{"outcomes":"deny","#),
        (r#""filter":{"#, r#""filter":{"from":"2026-06-01T00:00:00Z","#),
        (r#""tenant":"acme""#, r#""tenant":"Acme""#),
        (r#""disclosure":""#, r#""disclosure":"P"#),
    ] {
        assert!(matches!(refused(&change(from, to)), LineError::Form(_)), "{to}");
    }
    let other = change("chancery.evidence/v1", "chancery.evidence/v1.1");
    assert!(
        matches!(refused(&other), LineError::UnknownFormat { found } if found == "chancery.evidence/v1.1")
    );
    assert!(
        matches!(refused(r#"{"kind":"header"}"#), LineError::UnknownFormat { found } if found.is_empty())
    );
    // Another version may have other members.
    assert!(matches!(
        refused(r#"{"kind":"header","format":"chancery.evidence/v9","new":[]}"#),
        LineError::UnknownFormat { .. }
    ));
}

#[test]
fn kinds_proofs_and_openings_are_looked_at() {
    let samples = one_of_each();
    assert!(matches!(refused(r#"{"kind":"foot"}"#), LineError::Kind { found } if found == "foot"));
    assert!(matches!(refused("{}"), LineError::Form(_)));
    assert!(matches!(refused(""), LineError::Form(_)));
    assert!(matches!(refused("7"), LineError::Form(_)));
    let changed = samples["override"].replace(r#""kind":"override""#, r#""kind":"bundle""#);
    assert!(refused(&changed).to_string().contains("a kind of log entry"));

    let decision = &samples["decision"];
    let hash = b64::encode(&[1; 32]);
    let with_proof = |proof: &str| {
        let (head, tail) = decision.split_once(r#""proof":"#).unwrap();
        assert!(tail.ends_with("]}"));
        format!("{head}\"proof\":{proof}}}")
    };
    assert!(Line::parse_exact(with_proof("[]").as_bytes()).is_ok());
    let most = format!("[{}]", vec![format!("\"{hash}\""); 64].join(","));
    assert!(Line::parse_exact(with_proof(&most).as_bytes()).is_ok());
    let more = format!("[{}]", vec![format!("\"{hash}\""); 65].join(","));
    for proof in [&more, "{}", "null", "\"\"", "[7]", "[\"AA==\"]", &format!("[\"{}\"]", &hash[..43])] {
        assert!(matches!(refused(&with_proof(proof)), LineError::Form(_)), "{proof}");
    }

    let misplaced = samples["override"].replacen(r#","proof""#, r#","opening":{},"proof""#, 1);
    assert!(matches!(refused(&misplaced), LineError::OpeningOfNoDecision { kind: Kind::Override }));
    let misplaced = samples["keyring"].replacen(r#","proof""#, r#","opening":{},"proof""#, 1);
    assert!(matches!(refused(&misplaced), LineError::OpeningOfNoDecision { kind: Kind::Keyring }));
}

#[test]
fn an_opening_is_read_strictly() {
    let samples = one_of_each();
    let bare = samples["decision"].replace(r#""opening":"#, r#""opening":7,"x":"#);
    assert!(matches!(refused(&bare), LineError::Form(_)));
    let with = |opening: &str| {
        let (head, _) = samples["activation"].split_once(r#","index""#).unwrap();
        format!(r#"{head},"index":3,"kind":"decision","opening":{opening}}}"#)
    };
    let nested = |depth: usize| format!(r#"{{"secret":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(
        matches!(refused(&with(&nested(63))), LineError::OpeningJson(fault) if fault.code == json::Code::JsonDepth)
    );
    assert!(matches!(refused(&with(&nested(62))), LineError::Opening(_)));
    for opening in [r#"{"secret":1,"secret":2}"#, r#"{"secret":9007199254740992}"#, r#"{"secret":"\ud800"}"#]
    {
        let error = refused(&with(opening));
        assert!(matches!(error, LineError::OpeningJson(_) | LineError::Form(_)), "{opening} {error:?}");
    }
    let secret = Digest::of(b"");
    let good = format!(r#"{{"secret":"{secret}","signals":{{"a":1}}}}"#);
    assert!(Line::parse_exact(with(&good).as_bytes()).is_ok());
    for opening in
        ["null", "[]", "{}", &good.replace("secret", "key"), &good.replace("1}}", "1},\"more\":1}")]
    {
        assert!(matches!(refused(&with(opening)), LineError::Opening(_)), "{opening}");
    }
    for (from, to) in [(":1", ":1 "), (r#""a""#, r#""\u0061""#), (":1", ":-0")] {
        let spelt = with(&good.replacen(from, to, 1));
        assert!(Line::parse_exact(spelt.as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn two_files_of_one_bundle_cannot_have_one_name() {
    let samples = one_of_each();
    let twice = samples["bundle"].replacen(r#""files":{"#, r#""files":{"bundle.toml":"","#, 1);
    assert!(refused(&twice).to_string().contains("duplicate member"));
    let build = samples["build"].replacen(r#""sbom":"#, r#""sbom":null,"x":"#, 1);
    assert!(refused(&build).to_string().contains("unknown field"));
    let (head, tail) = samples["build"].split_once(r#""sbom":"#).unwrap();
    let (_, tail) = tail.split_once(r#","signature""#).unwrap();
    assert!(Line::parse_exact(format!(r#"{head}"sbom":null,"signature"{tail}"#).as_bytes()).is_ok());
    assert!(refused(&format!(r#"{head}"signature"{tail}"#)).to_string().contains("missing field"));
}

#[test]
fn lines_are_told_apart_by_their_faults() {
    let text = b"one\n\n12345678\n123456789\nafter\nlast";
    let mut reader = Reader::with_line_bytes_max(&text[..], 8);
    let mut found = Vec::new();
    let mut sums = Vec::new();
    while let Some(raw) = reader.next_line().unwrap() {
        sums.push((raw.offset, reader.sha256_before_last()));
        found.push((raw.number, raw.offset, raw.bytes, raw.fault));
    }
    let line = |number, offset, bytes: &str, fault| (number, offset, bytes.as_bytes().to_vec(), fault);
    assert_eq!(
        found,
        [
            line(1, 0, "one", None),
            line(2, 4, "", Some(LineFault::Blank)),
            line(3, 5, "12345678", None),
            line(4, 14, "", Some(LineFault::TooLong { max: 8 })),
            line(5, 24, "after", None),
            line(6, 30, "last", Some(LineFault::NoNewline)),
        ]
    );
    for (offset, sum) in sums {
        assert_eq!(sum, Digest::of(&text[..offset as usize]));
    }
    assert_eq!((reader.lines(), reader.bytes()), (6, 34));
    assert_eq!(reader.sha256(), Digest::of(text));
    // Too long and cut off: the limit is told of, and the file ends there.
    let mut reader = Reader::with_line_bytes_max(&b"123456789"[..], 8);
    let raw = reader.next_line().unwrap().unwrap();
    assert_eq!(raw.fault, Some(LineFault::TooLong { max: 8 }));
    assert!(reader.next_line().unwrap().is_none());
    assert_eq!(reader.bytes(), 9);
}

#[test]
fn a_file_that_cannot_be_read_says_at_which_line() {
    struct Broken(usize);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            if self.0 > 1 {
                return Err(std::io::Error::other("gone"));
            }
            buffer[..4].copy_from_slice(b"a\nb\n");
            Ok(4)
        }
    }
    let mut reader = Reader::new(std::io::BufReader::new(Broken(0)));
    assert_eq!(reader.next_line().unwrap().unwrap().bytes, b"a");
    assert_eq!(reader.next_line().unwrap().unwrap().bytes, b"b");
    assert_eq!(reader.next_line().unwrap_err().line, 3);
}

fn header() -> Header {
    let scope = Scope::Range(Range { from: 0, to: 9 });
    let at = "2026-06-01T00:00:00.000000Z".parse().unwrap();
    Header::new("acme".parse().unwrap(), "log.example/acme", "checkpoint\n", at, Disclosure::None, scope)
}

fn entry(kind: Kind, index: u64) -> EntryLine {
    let envelope = Envelope::sign("t", b"p".to_vec(), &signer()).unwrap();
    EntryLine { envelope, index, kind, opening: None, proof: None }
}

fn keyring(index: u64) -> KeyringLine {
    let EntryLine { envelope, .. } = entry(Kind::Decision, 0);
    KeyringLine { envelope, index, kind: KeyringTag, proof: Some(Proof(vec![RootHash::from_bytes([4; 32])])) }
}

#[test]
fn lines_out_of_order_are_not_written() {
    let mut writer = Writer::new(Vec::new(), &header()).unwrap();
    writer.keyring(&keyring(0)).unwrap();
    assert!(matches!(writer.keyring(&keyring(0)), Err(WriteError::Index { index: 0, last: 0 })));
    writer.keyring(&keyring(7)).unwrap();
    writer.entry(&entry(Kind::Decision, 1)).unwrap();
    assert!(matches!(writer.keyring(&keyring(8)), Err(WriteError::Order { kind: "keyring" })));
    assert!(matches!(writer.entry(&entry(Kind::Override, 1)), Err(WriteError::Index { index: 1, last: 1 })));
    assert!(matches!(writer.entry(&entry(Kind::Keyring, 9)), Err(WriteError::Entry { kind: Kind::Keyring })));
    assert!(matches!(writer.entry(&entry(Kind::Decision, 1 << 53)), Err(WriteError::Canonical(_))));
    assert_eq!(writer.lines(), 4);

    let backwards = Header { range: Some(Range { from: 2, to: 1 }), ..header() };
    assert!(matches!(Writer::new(Vec::new(), &backwards), Err(WriteError::Header(LineError::Range { .. }))));
}

#[test]
fn a_full_disk_is_an_error() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    assert!(matches!(Writer::new(Full(9), &header()), Err(WriteError::Io(_))));
    let mut writer = Writer::new(Full(999), &header()).unwrap();
    let written = (0..9).find_map(|index| writer.entry(&entry(Kind::Decision, index)).err());
    assert!(matches!(written, Some(WriteError::Io(_))));
}

#[test]
fn the_record_of_an_entry_is_that_of_its_envelope() {
    let Line::Entry(line) = Line::parse_exact(one_of_each()["decision"].as_bytes()).unwrap() else {
        panic!("no entry")
    };
    let id: RecordId = line.envelope.record_id();
    assert_eq!(crate::log::parse_entry(&crate::log::entry(line.kind, &id)), Ok((Kind::Decision, id)));
}

proptest! {
    #[test]
    fn a_changed_byte_is_refused_or_read_as_it_stands(
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = file("good-filtered");
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for raw in raw_lines(&bytes) {
            if let Ok(line) = raw.parse_exact() {
                let again = line.encode().unwrap();
                prop_assert_eq!(again.as_bytes(), &raw.bytes[..]);
            }
        }
    }

    #[test]
    fn lines_are_those_between_newlines(text in "[ab\n]{0,40}", max in 1_usize..6, buffer in 1_usize..9) {
        let reader = std::io::BufReader::with_capacity(buffer, text.as_bytes());
        let mut offset = 0;
        for (i, raw) in Reader::with_line_bytes_max(reader, max).enumerate() {
            let raw = raw.unwrap();
            prop_assert_eq!((raw.number, raw.offset), (i as u64 + 1, offset));
            let rest = &text[raw.offset as usize..];
            let length = rest.find('\n').unwrap_or(rest.len());
            let fault = if length > max {
                Some(LineFault::TooLong { max })
            } else if length == rest.len() {
                Some(LineFault::NoNewline)
            } else if length == 0 {
                Some(LineFault::Blank)
            } else {
                None
            };
            prop_assert_eq!(raw.fault, fault);
            let expected = if length > max { "" } else { &rest[..length] };
            prop_assert_eq!(raw.bytes, expected.as_bytes());
            offset += length as u64 + 1;
        }
        prop_assert!(offset >= text.len() as u64);
    }
}
