//! The text of a token, `mtk_<id>_<secret>`, and the hash that is kept of it.
//! Never prints a secret unless it is asked to reveal it, which only the answer to its issuing does.
//!
//! ```text
//! mtk_0191d5f47c3a4b1e8c55000000000080_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE
//!     32 hexadecimal digits, lower case  43 characters of base64url without padding (RFC 4648, section 5)
//! ```
//! The id is the token's UUID without hyphens; it is no secret and stands in the registry. The secret is 256 random
//! bits: nothing slower than SHA-256 is needed to keep it from being guessed out of its hash.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mentorlog_events::id::TokenId;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// What every token begins with, so that scanners for leaked secrets find it.
const PREFIX: &str = "mtk_";

/// Characters of an id.
const ID: usize = 32;

/// Characters of a secret.
const SECRET: usize = 43;

/// Characters of a token.
pub const LENGTH: usize = PREFIX.len() + ID + 1 + SECRET;

/// A token as whoever holds it sends it. Its secret is wiped when it is dropped.
pub struct Token {
    /// Which token it is.
    pub id: TokenId,
    secret: [u8; 32],
}

/// The text is not a token. It is not said in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a token: `mtk_`, 32 hexadecimal digits, `_` and 43 characters of base64url")]
pub struct NotAToken;

impl Token {
    /// A token of these random bits.
    pub fn new(id: TokenId, secret: [u8; 32]) -> Self {
        Self { id, secret }
    }

    /// A new token, out of the operating system's randomness.
    pub fn random() -> Self {
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        getrandom::fill(&mut id).expect("the operating system has randomness");
        getrandom::fill(&mut secret).expect("the operating system has randomness");
        let token = Self { id: TokenId(uuid::Builder::from_random_bytes(id).into_uuid()), secret };
        secret.zeroize();
        token
    }

    /// What is kept of the secret.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.secret).into())
    }

    /// The text to be handed to whoever will hold it, once.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(PREFIX);
        text.push_str(self.id.0.as_simple().encode_lower(&mut [0; ID]));
        text.push('_');
        URL_SAFE_NO_PAD.encode_string(self.secret, &mut text);
        text
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

impl FromStr for Token {
    type Err = NotAToken;

    /// Reads the one spelling a token has.
    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let bytes: &[u8; LENGTH] = text.as_bytes().try_into().map_err(|_| NotAToken)?;
        let rest = bytes.strip_prefix(PREFIX.as_bytes()).ok_or(NotAToken)?;
        let (id, rest) = rest.split_at(ID);
        let secret_text = rest.strip_prefix(b"_").ok_or(NotAToken)?;
        if id.iter().any(u8::is_ascii_uppercase) {
            return Err(NotAToken);
        }
        let id = std::str::from_utf8(id).map_err(|_| NotAToken)?;
        let id = TokenId(uuid::Uuid::try_parse(id).map_err(|_| NotAToken)?);
        // One byte of room more than there is: the decoder wants room for its estimate.
        let mut room = Zeroizing::new([0_u8; 33]);
        // Strict: no padding, and the two bits beyond the secret are zero.
        let length = URL_SAFE_NO_PAD.decode_slice(secret_text, &mut *room).map_err(|_| NotAToken)?;
        let mut secret: [u8; 32] = room[..length].try_into().map_err(|_| NotAToken)?;
        let token = Self { id, secret };
        secret.zeroize();
        Ok(token)
    }
}

/// SHA-256 of a token's secret.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash as it was kept.
    pub const fn kept(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether it is the same one. Takes as long either way.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token::new(TokenId(uuid::Uuid::from_u128(0x0191_d5f4_7c3a_4b1e_8c55_0000_0000_0080)), [0xa7; 32])
    }

    #[test]
    fn a_token_is_read_as_it_was_revealed() {
        let text = token().reveal();
        assert_eq!(*text, "mtk_0191d5f47c3a4b1e8c55000000000080_p6enp6enp6enp6enp6enp6enp6enp6enp6enp6enp6c");
        let read: Token = text.parse().unwrap();
        assert_eq!(read.id, token().id);
        assert!(read.hash().is(&token().hash()));
        let random = Token::random();
        let read: Token = random.reveal().parse().unwrap();
        assert!(read.id == random.id && read.hash().is(&random.hash()));
        assert!(!read.hash().is(&Token::random().hash()));
    }

    #[test]
    fn a_token_has_one_spelling_and_anything_else_is_none() {
        let text = token().reveal();
        let mut others: Vec<String> = vec![
            String::new(),
            text.to_uppercase(),
            format!(" {}", *text),
            format!("{}=", *text),
            text[..LENGTH - 1].to_owned(),
            // The last character carries two bits that belong to nothing.
            format!("{}d", &text[..LENGTH - 1]),
            text.replace("mtk_", "mtk-"),
            text.replace("8c55", "8C55"),
            text.replace("8c55", "8g55"),
            format!("{}é", &text[..LENGTH - 2]),
        ];
        // Any character of another alphabet, anywhere.
        for at in 0..LENGTH {
            let mut other = text.as_bytes().to_vec();
            other[at] = b'+';
            others.push(String::from_utf8(other).unwrap());
        }
        for other in others {
            assert!(other.parse::<Token>().is_err(), "{other}");
        }
    }

    #[test]
    fn any_other_secret_is_another_one() {
        let kept = token().hash();
        for bit in 0..256 {
            let mut secret = [0xa7; 32];
            secret[bit / 8] ^= 1 << (bit % 8);
            assert!(!kept.is(&Token::new(token().id, secret).hash()), "bit {bit}");
        }
    }

    #[test]
    fn no_secret_is_ever_printed() {
        let token = token();
        let (text, hash) = (token.reveal(), token.hash());
        let secret = &text[LENGTH - SECRET..];
        let hash_text = URL_SAFE_NO_PAD.encode(hash.bytes());
        for printed in [
            format!("{token:?} {token:#?}"),
            format!("{hash:?} {hash:#?}"),
            format!("{:?} {}", secret.parse::<Token>(), secret.parse::<Token>().unwrap_err()),
        ] {
            assert!(!printed.contains(secret) && !printed.contains(&hash_text), "{printed}");
            assert!(!printed.contains("167"), "not as numbers either: {printed}");
        }
    }
}
