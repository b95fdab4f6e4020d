//! Keyrings and keys that must not count, each by the name of the check that fails.

use chancery_core::dsse::{Envelope, IN_TOTO};
use chancery_core::ids::TenantId;
use chancery_core::keyring::{KeyEntry, Revocation, Role, RootKey};
use chancery_core::log::Kind;
use chancery_core::statement::{Activation, Statement};

use super::judge;
use super::world::{World, at, claims, key, tenant};
use crate::{Ask, CheckId, CheckResult, Verdict};

const SMALL: &str = "{\"amount\":500}";

/// The envelope of the newest keyring version.
fn newest(world: &mut World) -> &mut Envelope {
    let entry = world.entries.iter_mut().rev().find(|entry| entry.kind == Kind::Keyring).unwrap();
    &mut entry.envelope
}

fn entry<'k>(keys: &'k mut [KeyEntry], role: &Role) -> &'k mut KeyEntry {
    keys.iter_mut().find(|entry| entry.roles.contains(role)).unwrap()
}

/// An activation of the bundle in force, signed by a key that the keyring knows for something else.
fn activate_as(world: &mut World, name: &str) {
    let signer = key(name);
    let manifest = world.bundle.manifest();
    let statement = Statement::activation_of(Activation {
        activated_at: at(world.now),
        bundle_hash: world.bundle.hash(),
        policy_id: manifest.id().clone(),
        policy_version: manifest.version().clone(),
        previous: Some(world.bundle.hash()),
        reason: "Again.".to_owned(),
        requested_by: "the board".to_owned(),
        signer: chancery_core::key::Signer::public_key(&signer).key_id().clone(),
        tenant: tenant(),
    });
    world.log(&statement.unwrap(), &signer, None);
}

#[test]
fn a_keyring_or_a_key_that_must_not_count_fails_its_check() {
    type Make = fn(&mut World);
    let cases: [(&str, Make, CheckId); 13] = [
        (
            "a version missing",
            |world| {
                world.rotate(|_| {});
                let missing = world.entries.len() - 1;
                world.rotate(|_| {});
                world.entries.remove(missing);
            },
            CheckId::KeyringChain,
        ),
        (
            "another tenant",
            |world| world.rotate(|next| next.tenant = "other".parse::<TenantId>().unwrap()),
            CheckId::KeyringChain,
        ),
        (
            "another log",
            |world| world.rotate(|next| next.log_origin = "log.other/acme".to_owned()),
            CheckId::KeyringChain,
        ),
        (
            "edited after it was signed",
            |world| {
                world.rotate(|_| {});
                let envelope = newest(world);
                let text = String::from_utf8(envelope.payload.0.clone()).unwrap();
                envelope.payload.0 = text.replace("witness.example", "witness.forged1").into_bytes();
            },
            CheckId::KeyringChain,
        ),
        (
            "forged: the signatures are of another version",
            |world| {
                world.rotate(|_| {});
                let signatures = newest(world).signatures.clone();
                let mut other = World::new(claims());
                other.decide("claim-1", SMALL);
                other.rotate(|next| next.expires_at = at(50_000_000));
                *newest(world) = newest(&mut other).clone();
                newest(world).signatures = signatures;
            },
            CheckId::KeyringRoot,
        ),
        (
            "signed by a stranger",
            |world| {
                world.rotate(|_| {});
                let envelope = newest(world);
                *envelope = Envelope::sign(IN_TOTO, envelope.payload.0.clone(), &key("stranger")).unwrap();
            },
            CheckId::KeyringRoot,
        ),
        (
            "signed by nobody",
            |world| {
                world.rotate(|_| {});
                newest(world).signatures.clear();
            },
            CheckId::KeyringRoot,
        ),
        (
            "a threshold met by one key twice",
            |world| {
                let second = RootKey::new(chancery_core::key::Signer::public_key(&key("second")).clone());
                world.rotate(|next| {
                    next.root_keys.push(second);
                    next.threshold = 2;
                });
                let envelope = newest(world);
                let signature = envelope.signatures[0].clone();
                envelope.signatures.push(signature);
            },
            CheckId::KeyringRoot,
        ),
        (
            "an expired version",
            |world| {
                let soon = at(world.now + 5);
                world.rotate(|next| next.expires_at = soon);
            },
            CheckId::KeyValidity,
        ),
        (
            "an expired key",
            |world| {
                let soon = at(world.now + 5);
                world.rotate(|next| entry(&mut next.keys, &Role::Runtime).valid_until = soon);
            },
            CheckId::KeyValidity,
        ),
        (
            "a key that is not valid yet",
            |world| {
                let later = at(world.now + 1_000);
                world.rotate(|next| entry(&mut next.keys, &Role::Runtime).valid_from = later);
            },
            CheckId::KeyValidity,
        ),
        ("a key outside of its role", |world| activate_as(world, "erasure"), CheckId::KeyRole),
        (
            "a key after its revocation",
            |world| {
                let from_index = u64::try_from(world.entries.len()).unwrap() + 1;
                world.rotate(|next| {
                    let reason = "stolen".to_owned();
                    let revoked = Revocation { at: at(0), from_index, reason };
                    entry(&mut next.keys, &Role::Runtime).revoked = Some(revoked);
                });
            },
            CheckId::KeyRevoked,
        ),
    ];
    for (what, make, check) in cases {
        let mut world = World::new(claims());
        world.decide("claim-1", SMALL);
        make(&mut world);
        world.decide("claim-2", SMALL);
        let report = judge(&world.export(), Some(&world.root_pub()), &Ask::default());
        assert_eq!(report.verdict, Verdict::Failed, "{what}: {report}");
        assert_eq!(report.check(check).unwrap().result, CheckResult::Fail, "{what}: {report}");
        let trust = [CheckId::KeyringChain, CheckId::KeyringRoot];
        let other = trust.iter().filter(|other| **other != check);
        for other in other {
            let result = report.check(*other).unwrap().result;
            assert_ne!(result, CheckResult::Fail, "{what} fails {other:?} as well: {report}");
        }
    }
}

#[test]
fn root_keys_that_followed_lead_to_the_same_log() {
    let mut world = World::new(claims());
    world.decide("claim-1", SMALL);
    let public = |name: &str| chancery_core::key::Signer::public_key(&key(name)).clone();
    world.rotate(|next| next.root_keys = vec![RootKey::new(public("root")), RootKey::new(public("second"))]);
    world.decide("claim-2", SMALL);
    let new = chancery_core::keyring::RootPub::new(vec![public("second"), public("root")], 1).unwrap();
    for root in [world.root_pub(), new.to_string()] {
        let report = judge(&world.export(), Some(&root), &Ask::default());
        assert_eq!(report.verdict, Verdict::Verified, "{report}");
    }
    let stranger = chancery_core::keyring::RootPub::new(vec![public("second")], 1).unwrap();
    let report = judge(&world.export(), Some(&stranger.to_string()), &Ask::default());
    assert_eq!(report.check(CheckId::KeyringRoot).unwrap().result, CheckResult::Fail, "{report}");
}
