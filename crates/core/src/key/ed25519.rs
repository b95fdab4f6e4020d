//! An Ed25519 public key that checks signatures strictly, and more quickly once it is used often.
//!
//! ```text
//! signature   R (32) || s (32, little endian)                                RFC 8032 §5.1.6
//! k           SHA-512(R || A || message) mod L
//! accepted    s < L, compress(s·B − k·A) is R byte for byte, that point and A not of small order
//!
//! first uses  verify_strict of ed25519-dalek: s·B − k·A by doubling, 253 times
//! afterwards  s·B by the table of B, k·(−A) by a table of −A: 64 additions and 4 doublings each
//! ```

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use curve25519_dalek::edwards::{EdwardsBasepointTable, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::BasepointTable as _;
use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest as _, Sha512};

use super::{Algorithm, KeyError};

/// After how many signatures by a key its table is made.
///
/// A table costs what it saves at about 85 signatures. A key that has checked 64 mostly belongs to a log, where
/// thousands follow; where they do not, less than a millisecond is lost. One that is read for a few signatures never
/// has a table.
const USES_BEFORE_TABLE: u32 = 64;

/// A point of the curve in its one canonical encoding, not of small order.
///
/// Clones share the table: 30 KiB for a key that is used often, as long as one clone is there. Such keys are as many
/// as keyrings name.
#[derive(Clone)]
pub(super) struct Ed25519Key {
    /// INVARIANT: not weak.
    key: VerifyingKey,
    often: Arc<Often>,
}

#[derive(Default)]
struct Often {
    uses: AtomicU32,
    table: OnceLock<Box<EdwardsBasepointTable>>,
}

impl Ed25519Key {
    /// Reads the 32 bytes of RFC 8032 §5.1.5.
    ///
    /// # Errors
    /// [`KeyError::Point`] and [`KeyError::Weak`].
    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point(Algorithm::Ed25519))?;
        if key.is_weak() {
            return Err(KeyError::Weak);
        }
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(KeyError::Point(Algorithm::Ed25519));
        }
        Ok(Self { key, often: Arc::default() })
    }

    /// The 32 bytes that it was read from.
    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether the signature over exactly these bytes is by this key, judged strictly.
    ///
    /// One caller makes the table when it is due; others do not wait for it.
    #[must_use]
    pub(super) fn accepts(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        match self.table() {
            Some(table) => self.accepts_by_table(table, message, signature),
            None => self.accepts_by_doubling(message, signature),
        }
    }

    /// The table, made by the caller whose turn it is; nothing before that, and for others meanwhile.
    fn table(&self) -> Option<&EdwardsBasepointTable> {
        let Often { uses, table } = &*self.often;
        let made = table.get().or_else(|| {
            let due = uses.fetch_add(1, Ordering::Relaxed) == USES_BEFORE_TABLE;
            due.then(|| table.get_or_init(|| self.make_table()))
        });
        made.map(AsRef::as_ref)
    }

    fn make_table(&self) -> Box<EdwardsBasepointTable> {
        Box::new(EdwardsBasepointTable::create(&-self.key.to_edwards()))
    }

    fn accepts_by_doubling(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }

    /// Accepts what [`VerifyingKey::verify_strict`] accepts, no more and no less.
    ///
    /// That one wants: s < L; R decompresses; neither R nor A of small order; compress(s·B − k·A) is R. Here P is
    /// s·B + k·(−A), the same point: both ways multiply by the same integers below L, and the formulas hold on the
    /// whole curve, also where A has a part of small order. Where compress(P) is R, R decompresses to P and to
    /// nothing else. So P is of small order exactly if R is, and it remains to ask P instead of decompressing R. Where
    /// compress(P) is not R, both refuse. A was looked at when it was read.
    fn accepts_by_table(
        &self,
        minus_a: &EdwardsBasepointTable,
        message: &[u8],
        signature: &[u8; 64],
    ) -> bool {
        let (r, s) = split(signature);
        let Some(s) = Scalar::from_canonical_bytes(s).into_option() else { return false };
        let k = challenge(&r, self.as_bytes(), message);
        let point = EdwardsPoint::mul_base(&s) + minus_a * &k;
        point.compress().to_bytes() == r && !point.is_small_order()
    }
}

impl PartialEq for Ed25519Key {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

fn split(signature: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let signature = Signature::from_bytes(signature);
    (*signature.r_bytes(), *signature.s_bytes())
}

/// k of RFC 8032 §5.1.7.
fn challenge(r: &[u8; 32], a: &[u8; 32], message: &[u8]) -> Scalar {
    Scalar::from_hash(Sha512::new().chain_update(r).chain_update(a).chain_update(message))
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use curve25519_dalek::edwards::CompressedEdwardsY;
    use curve25519_dalek::traits::{Identity as _, IsIdentity as _};
    use ed25519_dalek::{Signer as _, SigningKey, Verifier as _};
    use proptest::prelude::*;

    use super::super::PublicKey;
    use super::super::tests::{text, vectors};
    use super::*;
    use crate::b64;

    /// What both ways say; they have to say the same.
    fn both(key: &Ed25519Key, message: &[u8], signature: &[u8; 64]) -> bool {
        let table = key.often.table.get_or_init(|| key.make_table());
        let by_table = key.accepts_by_table(table, message, signature);
        assert_eq!(by_table, key.accepts_by_doubling(message, signature), "{}", hex::encode(signature));
        by_table
    }

    /// A private scalar, and a key of it that `torsion` is added to.
    fn pair(number: u8, torsion: EdwardsPoint) -> (Scalar, Ed25519Key) {
        let secret = Scalar::from_bytes_mod_order([number; 32]);
        let public = EdwardsPoint::mul_base(&secret) + torsion;
        (secret, Ed25519Key::from_bytes(public.compress().as_bytes()).unwrap())
    }

    fn honest(number: u8) -> (SigningKey, Ed25519Key) {
        let key = SigningKey::from_bytes(&[number; 32]);
        let public = Ed25519Key::from_bytes(key.verifying_key().as_bytes()).unwrap();
        (key, public)
    }

    fn joined(r: [u8; 32], s: [u8; 32]) -> [u8; 64] {
        [r, s].concat().try_into().unwrap()
    }

    /// The signature with s = r + k·a for an R that is given, whatever that R is.
    fn signed(r: &Scalar, r_bytes: [u8; 32], secret: &Scalar, key: &Ed25519Key, message: &[u8]) -> [u8; 64] {
        let k = challenge(&r_bytes, key.as_bytes(), message);
        joined(r_bytes, (r + k * secret).to_bytes())
    }

    /// The little-endian bytes of the field's order p plus a small number: not a reduced y.
    fn p_and(more: u8) -> [u8; 32] {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed + more;
        bytes[31] = 0x7f;
        bytes
    }

    #[test]
    fn the_vectors_are_judged_alike() {
        let all = vectors("keyid.json");
        let message = text(&all, "message").as_bytes();
        let mut judged = 0;
        for case in all["signatures"].as_array().unwrap() {
            let key = PublicKey::from_spki_pem(text(case, "publicKey"));
            let Some(bytes) = key.as_ref().ok().and_then(PublicKey::as_ed25519) else { continue };
            let Ok(signature) = b64::decode(text(case, "signature")).unwrap().try_into() else { continue };
            let accepted = both(&Ed25519Key::from_bytes(bytes).unwrap(), message, &signature);
            assert_eq!(accepted, case["valid"].as_bool().unwrap(), "{}", text(case, "name"));
            judged += 1;
        }
        assert_eq!(judged, 3);
    }

    #[test]
    fn the_empty_message_has_a_signature() {
        let (private, key) = honest(1);
        let signature = private.sign(b"").to_bytes();
        assert!(both(&key, b"", &signature));
        assert!(!both(&key, b"\0", &signature));
    }

    #[test]
    fn s_that_is_not_reduced_is_refused() {
        // L, little endian: 2^252 + 27742317777372353535851937790883648493.
        let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
        let (private, key) = honest(2);
        let (r, s) = split(&private.sign(b"message").to_bytes());
        assert!(both(&key, b"message", &joined(r, s)));
        let mut carry = 0;
        let sum: Vec<u8> = s
            .iter()
            .zip(&order)
            .map(|(a, b)| {
                let sum = u16::from(*a) + u16::from(*b) + carry;
                carry = sum >> 8;
                sum.to_le_bytes()[0]
            })
            .collect();
        let sum = sum.try_into().unwrap();
        assert_eq!(Scalar::from_bytes_mod_order(sum).to_bytes(), s);
        for s in [sum, order.try_into().unwrap(), [0xff; 32]] {
            assert!(!both(&key, b"message", &joined(r, s)));
        }
    }

    #[test]
    fn s_of_zero_is_refused() {
        let (_, key) = honest(3);
        let minus_a = (-key.key.to_edwards()).compress().to_bytes();
        let one = EdwardsPoint::identity().compress().to_bytes();
        for r in [minus_a, *key.as_bytes(), one, [0; 32]] {
            assert!(!both(&key, b"message", &joined(r, [0; 32])));
        }
    }

    /// Refused by both ways, though the equation holds, which is all that the lax way asks for.
    fn refused_for_strictness(key: &Ed25519Key, message: &[u8], signature: &[u8; 64]) -> bool {
        key.key.verify(message, &Signature::from_bytes(signature)).is_ok() && !both(key, message, signature)
    }

    #[test]
    fn r_of_small_order_is_refused_though_the_equation_holds() {
        // With r = 0, s·B − k·A is the neutral element.
        let (secret, key) = pair(4, EdwardsPoint::identity());
        let one = EdwardsPoint::identity().compress().to_bytes();
        let signature = signed(&Scalar::ZERO, one, &secret, &key, b"message");
        assert!(refused_for_strictness(&key, b"message", &signature));

        // With a key A = a·B + T it is −k·T: any point of small order, for some message.
        let torsion = EIGHT_TORSION[1];
        let (secret, key) = pair(4, torsion);
        for r in EIGHT_TORSION {
            let bytes = r.compress().to_bytes();
            let holds = |message: &[u8; 1]| -torsion * challenge(&bytes, key.as_bytes(), message) == r;
            let message = (0..=255).map(|byte| [byte]).find(holds).unwrap();
            let signature = signed(&Scalar::ZERO, bytes, &secret, &key, &message);
            assert!(refused_for_strictness(&key, &message, &signature), "{}", hex::encode(bytes));
        }
    }

    #[test]
    fn r_of_mixed_order_is_refused_where_only_the_cofactored_equation_holds() {
        let (secret, key) = pair(5, EdwardsPoint::identity());
        let r = Scalar::from(7u64);
        for torsion in EIGHT_TORSION {
            let point = EdwardsPoint::mul_base(&r) + torsion;
            let signature = signed(&r, point.compress().to_bytes(), &secret, &key, b"message");
            assert_eq!(both(&key, b"message", &signature), torsion.is_identity());
        }
    }

    #[test]
    fn keys_of_mixed_order_sign_what_the_exact_equation_lets_them() {
        let r = Scalar::from(7u64);
        for torsion in &EIGHT_TORSION[1..] {
            let (secret, key) = pair(6, *torsion);
            let (mut accepted, mut refused) = (0, 0);
            // R with and without a part of small order; s as for the cofactored equation, which always holds.
            for part in EIGHT_TORSION {
                let bytes = (EdwardsPoint::mul_base(&r) + part).compress().to_bytes();
                for byte in 0..32 {
                    let message = [byte];
                    let exact = -torsion * challenge(&bytes, key.as_bytes(), &message) == part;
                    let signature = signed(&r, bytes, &secret, &key, &message);
                    assert_eq!(both(&key, &message, &signature), exact);
                    *if exact { &mut accepted } else { &mut refused } += 1;
                }
            }
            assert!(accepted > 0 && refused > 0, "{accepted} {refused}");
        }
    }

    #[test]
    fn other_spellings_of_r_are_refused() {
        let (secret, key) = pair(7, EdwardsPoint::identity());
        // y = p + 1 is the neutral element's y = 1, and so is y = 1 with the sign of an x that is zero.
        let mut signed_one = [0; 32];
        signed_one[0] = 1;
        signed_one[31] = 0x80;
        let mut spellings = vec![signed_one];
        for more in 0..19 {
            let mut negative = p_and(more);
            negative[31] |= 0x80;
            spellings.extend([p_and(more), negative]);
        }
        for bytes in spellings {
            let signature = signed(&Scalar::ZERO, bytes, &secret, &key, b"message");
            assert!(!both(&key, b"message", &signature), "{}", hex::encode(bytes));
        }
    }

    #[test]
    fn r_off_the_curve_is_refused() {
        let (secret, key) = pair(8, EdwardsPoint::identity());
        let mut off = 0;
        for byte in 2..64 {
            let mut bytes = [0; 32];
            bytes[0] = byte;
            off += usize::from(CompressedEdwardsY(bytes).decompress().is_none());
            assert!(!both(&key, b"message", &signed(&Scalar::ONE, bytes, &secret, &key, b"message")));
        }
        assert!(off > 0);
    }

    #[test]
    fn the_table_comes_with_use_and_is_shared_by_clones() {
        let (private, key) = honest(9);
        let clone = key.clone();
        let (good, other) = (private.sign(b"message").to_bytes(), private.sign(b"another").to_bytes());
        let table = |key: &Ed25519Key| key.often.table.get().map(|table| std::ptr::from_ref(&**table));
        for _ in 0..USES_BEFORE_TABLE {
            assert!(key.accepts(b"message", &good));
        }
        assert_eq!(table(&clone), None);
        assert!(!clone.accepts(b"message", &other));
        assert!(table(&key).is_some());
        assert_eq!(table(&key), table(&clone));
        assert!(key.accepts(b"message", &good) && !key.accepts(b"message", &other));
        assert_eq!(table(&Ed25519Key::from_bytes(key.as_bytes()).unwrap()), None);
    }

    #[test]
    fn threads_that_share_a_key_agree_while_its_table_is_made() {
        let (private, key) = honest(10);
        let (good, other) = (private.sign(b"message").to_bytes(), private.sign(b"another").to_bytes());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..USES_BEFORE_TABLE {
                        assert!(key.accepts(b"message", &good));
                        assert!(!key.accepts(b"message", &other));
                    }
                });
            }
        });
        assert!(key.often.table.get().is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn both_ways_agree(
            seed: [u8; 32],
            other: [u8; 32],
            message in proptest::collection::vec(any::<u8>(), 1..300),
            bits in proptest::collection::vec(0usize..512, 4),
            at: prop::sample::Index,
        ) {
            prop_assume!(seed != other);
            let private = SigningKey::from_bytes(&seed);
            let key = Ed25519Key::from_bytes(private.verifying_key().as_bytes()).unwrap();
            let signature = private.sign(&message).to_bytes();
            prop_assert!(both(&key, &message, &signature));
            for bit in bits {
                let mut flipped = signature;
                flipped[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(!both(&key, &message, &flipped));
            }
            let mut changed = message.clone();
            changed[at.index(message.len())] ^= 1;
            prop_assert!(!both(&key, &changed, &signature));
            let wrong = SigningKey::from_bytes(&other);
            let wrong = Ed25519Key::from_bytes(wrong.verifying_key().as_bytes()).unwrap();
            prop_assert!(!both(&wrong, &message, &signature));
        }
    }
}
