//! What a keyring version changes, in words: shown to whoever is about to sign it.

use chancery_core::key::KeyId;
use chancery_core::keyring::{KeyEntry, KeyringVersion, Role, RootKey};
use chancery_core::time::Timestamp;
use chancery_runtime::trust::{Loss, Quorum};

use super::output::foreign;

/// Says what `next` changes. A draft is somebody else's text: whatever in it is free is shown as [`foreign`].
///
/// `loss` is what its revocations take away, where the log is at hand.
pub(super) fn describe(
    before: &KeyringVersion,
    next: &KeyringVersion,
    now: Timestamp,
    loss: Option<Loss>,
) -> String {
    let mut text = format!(
        "keyring version {} of `{}`, log `{}`, after version {}\n  issued    {}\n  expires   {}{}\n",
        next.version,
        next.tenant,
        foreign(&next.log_origin),
        before.version,
        next.issued_at,
        next.expires_at,
        was(&before.expires_at, &next.expires_at),
    );
    let of = |version: &KeyringVersion| format!("{} of {}", version.threshold, version.root_keys.len());
    text.push_str(&format!("  root keys {}{}\n", of(next), was(&of(before), &of(next))));
    for (sign, these, others) in [("-", before, next), ("+", next, before)] {
        for root in these.root_keys.iter().filter(|root| !others.root_keys.contains(root)) {
            text.push_str(&format!("  {sign} root key {}\n", root.key().key_id()));
        }
    }
    if before.witness_quorum() != next.witness_quorum() {
        let (old, new) = (before.witness_quorum(), next.witness_quorum());
        text.push_str(&format!("  ~ a checkpoint needs {new} cosignatures (before: {old})\n"));
    }
    let old = |id: &KeyId| before.keys.iter().find(|entry| entry.key.key_id() == id);
    for entry in &before.keys {
        if !next.keys.iter().any(|kept| kept.key == entry.key) {
            text.push_str(&format!(
                "  - key {} of `{}` is left out\n",
                entry.key.key_id(),
                foreign(&entry.subject)
            ));
        }
    }
    let mut revokes = false;
    for entry in &next.keys {
        match old(entry.key.key_id()) {
            None => text.push_str(&new_key(entry)),
            Some(old) => text.push_str(&changed(old, entry)),
        }
        let revoked_before = old(entry.key.key_id()).and_then(|old| old.revoked.as_ref());
        if let Some(revoked) = entry.revoked.as_ref().filter(|revoked| Some(*revoked) != revoked_before) {
            revokes = true;
            text.push_str(&format!(
                "  ! key {} of `{}` is revoked from log index {} on: {}\n    what it signed there and after counts \
                 for nothing, for ever: evidence that has any of it fails `key.revoked`\n",
                entry.key.key_id(),
                foreign(&entry.subject),
                revoked.from_index,
                foreign(&revoked.reason)
            ));
        }
    }
    if revokes {
        text.push_str(&match loss {
            Some(loss) => format!("  ! this takes away {loss}\n"),
            None => {
                "  ! how much of the log this takes away is not known here; `submit` counts it\n".to_owned()
            }
        });
    }
    for role in [Role::Runtime, Role::Log, Role::Policy] {
        if !next.keys_with(&role).any(|entry| entry.revoked.is_none() && entry.is_valid_at(now)) {
            text.push_str(&format!(
                "  ! no `{role}` key is good after this: enrol one before the server goes on\n"
            ));
        }
    }
    text
}

fn was<T: PartialEq + std::fmt::Display>(before: &T, next: &T) -> String {
    if before == next { String::new() } else { format!(" (before: {before})") }
}

fn new_key(entry: &KeyEntry) -> String {
    format!(
        "  + key {} {}\n    signs as {} for `{}`, from {} until {}\n",
        entry.key.key_id(),
        entry.key.algorithm(),
        roles(entry),
        foreign(&entry.subject),
        entry.valid_from,
        entry.valid_until
    )
}

fn changed(old: &KeyEntry, entry: &KeyEntry) -> String {
    let mut text = String::new();
    let mut say = |what: &str, before: String, now: String| {
        if before != now {
            text.push_str(&format!("  ~ key {}: {what} {now} (before: {before})\n", entry.key.key_id()));
        }
    };
    say("signs as", roles(old), roles(entry));
    say("held by", format!("`{}`", foreign(&old.subject)), format!("`{}`", foreign(&entry.subject)));
    say("valid from", old.valid_from.to_string(), entry.valid_from.to_string());
    say("valid until", old.valid_until.to_string(), entry.valid_until.to_string());
    text
}

/// The roles of a key, with commas.
pub(super) fn roles(entry: &KeyEntry) -> String {
    entry.roles.iter().map(|role| format!("`{role}`")).collect::<Vec<_>>().join(", ")
}

/// Who has signed, and how many more have to.
pub(super) fn signatures(before: &KeyringVersion, next: &KeyringVersion, quorums: &[Quorum; 2]) -> String {
    let [old, own] = quorums;
    let one = |version: u64, quorum: &Quorum| {
        let signed = quorum.signed.len();
        let need = quorum.threshold;
        let enough = if quorum.is_met() { "enough" } else { "not enough" };
        format!(
            "  {signed} of the {need} signatures that version {version}'s root keys have to give: {enough}\n"
        )
    };
    let mut text = one(before.version, old);
    let ids =
        |version: &KeyringVersion| version.root_keys.iter().map(RootKey::key).cloned().collect::<Vec<_>>();
    if before.threshold != next.threshold || ids(before) != ids(next) {
        text.push_str(&one(next.version, own));
    }
    text
}
