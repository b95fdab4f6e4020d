//! A key in an `ssh-agent`, for an approver whose key never leaves it (draft-ietf-sshm-ssh-agent).
//!
//! ```text
//! uint32 length │ byte type │ …                                       string = uint32 length ‖ bytes
//! 11 list       ─► 12: uint32 n, n × (string key, string comment)
//! 13 sign       ─► 14: string (string algorithm, string signature)    string key, string data, uint32 flags
//! ```
//! The agent signs the bytes that it is given, and an SSH key of type `ssh-ed25519` makes plain Ed25519 signatures, so
//! the PAE goes to it as it is. A `ecdsa-sha2-nistp256` signature is two SSH integers, which are written as DER here.
//! Key ids are SSH fingerprints already. Other types, and hardware keys that sign something around the data, are passed
//! over. Every signature is verified before it is used.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_core::key::{Algorithm, KeyId, PublicKey, SignError, Signer};

use super::{Exit, Failure};

/// Where the agent listens.
const SOCKET_VARIABLE: &str = "SSH_AUTH_SOCK";
/// The longest answer: a few hundred keys.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Long enough for a person to confirm at the agent.
const PATIENCE: Duration = Duration::from_secs(120);
const LIST: u8 = 11;
const KEYS: u8 = 12;
const SIGN: u8 = 13;
const SIGNED: u8 = 14;
const ED25519: &[u8] = b"ssh-ed25519";
const P256: &[u8] = b"ecdsa-sha2-nistp256";
/// The SPKI of a P-256 key up to its point (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that an agent holds.
pub(super) struct AgentKey {
    socket: PathBuf,
    key: PublicKey,
}

/// The agent does not do what was asked.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("the ssh-agent at `{}` cannot be reached", .0.display())]
    Socket(PathBuf, #[source] std::io::Error),
    #[error("the ssh-agent refused: the key is not there any more, or its use was not confirmed")]
    Refused,
    #[error("the ssh-agent answered something that is no answer")]
    Answer,
    #[error("the ssh-agent's signature does not hold")]
    Signature,
}

impl AgentKey {
    /// The agent's key with this id, or its only one that can sign here.
    pub(super) fn open(wanted: Option<&KeyId>) -> Result<Self, Failure> {
        let socket = std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from).ok_or_else(|| {
            Failure::usage(format!("`{SOCKET_VARIABLE}` is not set, so there is no ssh-agent"))
                .help("start one: `eval $(ssh-agent)`, then `ssh-add KEY`")
        })?;
        let keys = list(&socket).map_err(|error| {
            Failure::because(Exit::NotAuthorised, "cannot use the ssh-agent", &error)
                .help("`ssh-add -l` shows what it holds")
        })?;
        let ids: Vec<String> = keys.iter().map(|key| key.key_id().to_string()).collect();
        let mut matching: Vec<PublicKey> =
            keys.into_iter().filter(|key| wanted.is_none_or(|wanted| key.key_id() == wanted)).collect();
        match (matching.pop(), matching.is_empty()) {
            (Some(key), true) => Ok(Self { socket, key }),
            (Some(_), false) => {
                Err(Failure::usage(format!("the ssh-agent has several keys: {}", ids.join(", ")))
                    .help("name one with `--key-id`"))
            }
            (None, _) => Err(Failure::new(Exit::NotFound, "the ssh-agent has no such key")
                .help("`ssh-add -l` shows what it holds; Ed25519 and NIST P-256 keys can sign here")),
        }
    }
}

impl Signer for AgentKey {
    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = sign(&self.socket, &self.key, message).map_err(SignError::new)?;
        match self.key.verify(message, &signature) {
            Ok(()) => Ok(signature),
            Err(_) => Err(SignError::new(AgentError::Signature)),
        }
    }
}

fn list(socket: &Path) -> Result<Vec<PublicKey>, AgentError> {
    let answer = ask(socket, LIST, &[])?;
    let mut rest = expect(&answer, KEYS)?;
    let count = number(&mut rest)?;
    let mut keys = Vec::new();
    for _ in 0..count {
        let key = string(&mut rest)?;
        string(&mut rest)?;
        keys.extend(public_key(key));
    }
    Ok(keys)
}

/// The key of SSH wire bytes, if it is of a kind that can sign here.
fn public_key(mut wire: &[u8]) -> Option<PublicKey> {
    match string(&mut wire).ok()? {
        ED25519 => PublicKey::from_ed25519(string(&mut wire).ok()?.try_into().ok()?).ok(),
        P256 => {
            string(&mut wire).ok()?;
            PublicKey::from_spki_der(&[&P256_SPKI, string(&mut wire).ok()?].concat()).ok()
        }
        _ => None,
    }
}

fn sign(socket: &Path, key: &PublicKey, message: &[u8]) -> Result<Vec<u8>, AgentError> {
    let mut request = Vec::new();
    put(&mut request, &key.ssh_wire());
    put(&mut request, message);
    request.extend(0_u32.to_be_bytes());
    let answer = ask(socket, SIGN, &request)?;
    let mut rest = expect(&answer, SIGNED)?;
    let mut signature = string(&mut rest)?;
    let algorithm = string(&mut signature)?;
    let mut bytes = string(&mut signature)?;
    match (key.algorithm(), algorithm) {
        (Algorithm::Ed25519, ED25519) => Ok(bytes.to_vec()),
        (Algorithm::EcdsaP256, P256) => {
            let (r, s) = (string(&mut bytes)?, string(&mut bytes)?);
            der(r, s).ok_or(AgentError::Answer)
        }
        _ => Err(AgentError::Answer),
    }
}

/// Two SSH integers as DER: both write the fewest bytes in two's complement. At most 33 bytes each.
fn der(r: &[u8], s: &[u8]) -> Option<Vec<u8>> {
    let integer = |bytes: &[u8]| Some([&[0x02, u8::try_from(bytes.len()).ok()?], bytes].concat());
    let both = [integer(r)?, integer(s)?].concat();
    let length = u8::try_from(both.len()).ok().filter(|length| *length < 0x80)?;
    Some([&[0x30, length], both.as_slice()].concat())
}

fn ask(socket: &Path, kind: u8, body: &[u8]) -> Result<Vec<u8>, AgentError> {
    let unreachable = |error| AgentError::Socket(socket.to_owned(), error);
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
    let mut request = Vec::new();
    put(&mut request, &[&[kind], body].concat());
    stream.write_all(&request).map_err(unreachable)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(unreachable)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| AgentError::Answer)?;
    if length > ANSWER_BYTES_MAX {
        return Err(AgentError::Answer);
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).map_err(unreachable)?;
    Ok(answer)
}

/// What follows the type of an answer.
fn expect(answer: &[u8], kind: u8) -> Result<&[u8], AgentError> {
    match answer.split_first() {
        Some((found, rest)) if *found == kind => Ok(rest),
        Some(_) => Err(AgentError::Refused),
        None => Err(AgentError::Answer),
    }
}

fn number(rest: &mut &[u8]) -> Result<u32, AgentError> {
    let (bytes, after) = rest.split_first_chunk::<4>().ok_or(AgentError::Answer)?;
    *rest = after;
    Ok(u32::from_be_bytes(*bytes))
}

fn string<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], AgentError> {
    let length = usize::try_from(number(rest)?).map_err(|_| AgentError::Answer)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(AgentError::Answer)?;
    *rest = after;
    Ok(bytes)
}

/// Appends a string. What is sent here is far shorter than a length can say.
fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use chancery_core::key::SigningKey;

    fn joined(parts: &[&[u8]]) -> Vec<u8> {
        let mut wire = Vec::new();
        parts.iter().for_each(|part| put(&mut wire, part));
        wire
    }

    #[test]
    fn keys_are_read_from_their_wire_form() {
        let ed25519 = SigningKey::generate_ed25519([1; 32]);
        let p256 = SigningKey::generate_p256([2; 32]).unwrap();
        for key in [ed25519.public_key(), p256.public_key()] {
            assert_eq!(public_key(&key.ssh_wire()).as_ref(), Some(key));
        }
        for other in [
            joined(&[b"ssh-rsa", b"\x03", b"n"]),
            joined(&[b"sk-ssh-ed25519@openssh.com", &[1; 32], b"ssh:"]),
            joined(&[ED25519, &[1; 31]]),
            joined(&[P256, b"nistp256", &[4; 64]]),
            joined(&[ED25519])[..8].to_vec(),
            Vec::new(),
        ] {
            assert!(public_key(&other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn integers_are_written_as_der_writes_them() {
        let key = SigningKey::generate_p256([2; 32]).unwrap();
        for message in [b"one".as_slice(), b"two", b"three", b"four"] {
            let signature = key.sign(message).unwrap();
            let (_, r, rest) =
                (&signature[..2], &signature[4..4 + usize::from(signature[3])], &signature[4..]);
            let s = &rest[usize::from(signature[3]) + 2..];
            assert_eq!(der(r, s).unwrap(), signature);
        }
        assert!(der(&[1; 70], &[1; 70]).is_none());
    }

    #[test]
    fn an_answer_that_is_cut_off_is_none() {
        let answer = [&[KEYS], 2_u32.to_be_bytes().as_slice(), &joined(&[b"key", b"comment"])].concat();
        for end in 0..answer.len() {
            let read = expect(&answer[..end], KEYS).and_then(|mut rest| {
                number(&mut rest)?;
                string(&mut rest)?;
                string(&mut rest).map(<[u8]>::to_vec)
            });
            assert!(read.is_err(), "{end}");
        }
        assert!(matches!(expect(&[5], KEYS), Err(AgentError::Refused)));
    }
}
