//! Browsers that showed a token once: who they are, for as long as the session lasts.
//! Never on a disk, never the token itself, and never worth more than the token is worth at that moment.
//!
//! A session is 256 random bits in a cookie. What is kept of it is their SHA-256, so that how long a look-up takes says
//! nothing of what is kept, and whoever reads the memory of the service has no session by it.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mentorlog_events::id::TokenId;
use mentorlog_events::time::Timestamp;
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

/// How long a session lasts, in minutes: a working day.
pub const LASTS_MINUTES: i64 = 12 * 60;

/// Most sessions of one token; the one that ends first makes room.
const OF_A_TOKEN_MAX: usize = 16;

/// Most sessions at once; the one that ends first makes room.
const ALL_MAX: usize = 4096;

/// Characters of a session's text.
const LENGTH: usize = 43;

/// A session, as the browser holds it. Wiped when it is dropped.
pub struct Session([u8; 32]);

/// What is kept of a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey([u8; 32]);

/// The text is not a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotASession;

impl Session {
    fn random() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).expect("the operating system has randomness");
        Self(bytes)
    }

    /// What is kept of it.
    pub fn key(&self) -> SessionKey {
        SessionKey(Sha256::digest(self.0).into())
    }

    /// The text for the cookie: 43 characters of base64url.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl FromStr for Session {
    type Err = NotASession;

    fn from_str(text: &str) -> Result<Self, NotASession> {
        let mut room = Zeroizing::new([0_u8; 33]);
        if text.len() != LENGTH {
            return Err(NotASession);
        }
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut *room).map_err(|_| NotASession)?;
        room[..length].try_into().map(Self).map_err(|_| NotASession)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(..)")
    }
}

#[derive(Debug, Clone, Copy)]
struct Open {
    token: TokenId,
    until: Timestamp,
}

/// The sessions there are.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<SessionKey, Open>>);

impl Sessions {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<SessionKey, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session of whoever has just shown this token.
    pub fn begin(&self, token: TokenId, now: Timestamp) -> Session {
        let session = Session::random();
        let mut open = self.open();
        open.retain(|_, one| one.until > now);
        let first_to_end = |open: &HashMap<SessionKey, Open>, of: Option<TokenId>| {
            let those = open.iter().filter(|(_, one)| of.is_none_or(|of| one.token == of));
            those.min_by_key(|(_, one)| one.until).map(|(key, _)| *key)
        };
        if open.values().filter(|one| one.token == token).count() >= OF_A_TOKEN_MAX
            && let Some(key) = first_to_end(&open, Some(token))
        {
            open.remove(&key);
        }
        if open.len() >= ALL_MAX
            && let Some(key) = first_to_end(&open, None)
        {
            open.remove(&key);
        }
        open.insert(session.key(), Open { token, until: now.plus_minutes(LASTS_MINUTES) });
        session
    }

    /// The token a session was begun with; `None` if it is over or there is none. Whether the token is still honoured
    /// is not said.
    pub fn token(&self, key: SessionKey, now: Timestamp) -> Option<TokenId> {
        self.open().get(&key).filter(|one| one.until > now).map(|one| one.token)
    }

    /// Ends a session. One that is not there has ended.
    pub fn end(&self, key: SessionKey) {
        self.open().remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        "2026-09-20T12:00:00Z".parse::<Timestamp>().unwrap().plus_minutes(minutes)
    }

    fn token(n: u128) -> TokenId {
        TokenId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn a_session_is_its_tokens_until_it_ends() {
        let sessions = Sessions::default();
        let session = sessions.begin(token(1), at(0));
        let shown: Session = session.reveal().parse().unwrap();
        assert_eq!(sessions.token(shown.key(), at(LASTS_MINUTES - 1)), Some(token(1)));
        assert_eq!(sessions.token(shown.key(), at(LASTS_MINUTES)), None, "a day is over");
        sessions.end(shown.key());
        assert_eq!(sessions.token(shown.key(), at(1)), None);
        assert_eq!(sessions.token(Session::random().key(), at(1)), None);
    }

    #[test]
    fn what_is_no_session_is_told_by_its_look() {
        let text = Session([7; 32]).reveal();
        for bad in ["", &text[1..], &format!("{}=", *text), &format!("{}!", &text[1..]), &"_".repeat(LENGTH)]
        {
            assert!(bad.parse::<Session>().is_err(), "{bad}");
        }
        assert!(text.parse::<Session>().is_ok());
        assert!(!format!("{:?}", Sessions::default()).contains(&*text));
    }

    #[test]
    fn many_sessions_make_room_for_new_ones() {
        let sessions = Sessions::default();
        let first = sessions.begin(token(1), at(0));
        let other = sessions.begin(token(2), at(0));
        for n in 0..OF_A_TOKEN_MAX {
            sessions.begin(token(1), at(i64::try_from(n).unwrap() + 1));
        }
        assert_eq!(sessions.token(first.key(), at(20)), None, "its token has too many");
        assert_eq!(sessions.token(other.key(), at(20)), Some(token(2)), "another's are not touched");
        for n in 0..ALL_MAX as u128 {
            sessions.begin(token(100 + n), at(30));
        }
        assert_eq!(sessions.open().len(), ALL_MAX);
        assert_eq!(sessions.token(other.key(), at(31)), None);
    }
}
