//! What is kept of tokens outside the log, in `<data>/access/tokens`: the hash of each secret, and whom it is bound to.
//! Never holds a secret, and never says what a token allows: that is the registry's to say.
//!
//! A token is honoured only if it is here and in the registry. What is here and not there was never issued or belongs
//! to another history; what is there and not here is lost, and nobody gets in with it. The file is written whole to a
//! draft, synced, renamed and its directory synced. Lines of UTF-8 (format 1):
//! ```text
//! mentorlog tokens 1
//! <token uuid> <SHA-256 of the secret, base64>
//! <token uuid> <SHA-256 of the secret, base64> <program uuid> <participant uuid>
//! sha256 <SHA-256 of all lines before this one, base64>
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mentorlog_events::id::{B64, ParticipantId, ProgramId, TokenId};
use sha2::{Digest as _, Sha256};

use super::token::{SecretHash, Token};

const FIRST_LINE: &str = "mentorlog tokens 1";

/// Longest file that is read: some three hundred thousand tokens.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The file could not be read or written. The tokens that were kept are kept as they were.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// Others than its owner may read or write it, or it is somebody else's.
    #[error(
        "{} may be read or written by others (mode {mode:03o}, owner {uid}): whoever writes it lets themselves in; look \
         at what is in it, make it this account's own, then `chmod 600` it and `chmod 700` its directory", path.display()
    )]
    Exposed {
        /// Which file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whose it is.
        uid: u32,
    },
    /// It is torn or has rotted.
    #[error(
        "{} is damaged: nobody can be let in by it; remove it and issue new tokens, beginning with \
         `mentorlog token bootstrap`", .0.display()
    )]
    Damaged(PathBuf),
}

/// One token, as it is kept.
#[derive(Debug, Clone, Copy)]
struct Row {
    hash: SecretHash,
    participant: Option<(ProgramId, ParticipantId)>,
}

/// Whoever holds a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// As whom alone it may act and read; `None` is anybody its role may act as.
    pub participant: Option<(ProgramId, ParticipantId)>,
}

/// The tokens that are kept.
#[derive(Debug)]
pub struct KeptTokens {
    /// `None`: they are kept in memory only.
    folder: Option<PathBuf>,
    rows: RwLock<HashMap<TokenId, Row>>,
    /// One change at a time.
    changing: Mutex<()>,
}

impl KeptTokens {
    /// No tokens, and none is ever written anywhere.
    pub fn in_memory() -> Self {
        Self { folder: None, rows: RwLock::default(), changing: Mutex::new(()) }
    }

    /// Reads what is kept under a data directory. No file is no tokens; nothing is made.
    pub fn open(data: &Path) -> Result<Self, KeptError> {
        let folder = data.join("access");
        let path = folder.join("tokens");
        let failed = |error| KeptError::Io { path: path.clone(), error };
        let rows = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => return Err(failed(error)),
            Ok(file) => {
                private(&folder, &fs::metadata(&folder).map_err(failed)?)?;
                let metadata = file.metadata().map_err(failed)?;
                private(&path, &metadata)?;
                let mut text = String::new();
                let read = file.take(BYTES_MAX).read_to_string(&mut text);
                match read {
                    Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(failed(error)),
                    Err(_) => return Err(KeptError::Damaged(path)),
                    Ok(_) => parse(&text).ok_or(KeptError::Damaged(path))?,
                }
            }
        };
        Ok(Self { folder: Some(folder), rows: RwLock::new(rows), changing: Mutex::new(()) })
    }

    fn rows(&self) -> std::sync::RwLockReadGuard<'_, HashMap<TokenId, Row>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one more token, and of the others those that are still `wanted`. After an error nothing has changed,
    /// here or on the disk. Blocks.
    pub fn keep(
        &self,
        token: &Token,
        participant: Option<(ProgramId, ParticipantId)>,
        wanted: impl Fn(TokenId) -> bool,
    ) -> Result<(), KeptError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows: HashMap<TokenId, Row> = self.rows().clone();
        rows.retain(|id, _| wanted(*id));
        rows.insert(token.id, Row { hash: token.hash(), participant });
        if let Some(folder) = &self.folder {
            write(folder, &encode(&rows))?;
        }
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = rows;
        Ok(())
    }

    /// Forgets the secret of a token: nobody is let in with it from now on, and, unless this fails, after a restart
    /// either. One that is not kept is no error. Blocks.
    pub fn forget(&self, id: TokenId) -> Result<(), KeptError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = self.rows.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let rows: HashMap<TokenId, Row> = self.rows().clone();
        match (&self.folder, removed) {
            (Some(folder), Some(_)) => write(folder, &encode(&rows)),
            (_, _) => Ok(()),
        }
    }

    /// Forgets the secrets of the tokens that are bound to these participants; see [`Self::forget`].
    pub fn forget_bound_to(&self, whom: impl Fn(ProgramId, ParticipantId) -> bool) -> Result<(), KeptError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let rows: HashMap<TokenId, Row> = {
            let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
            let before = rows.len();
            rows.retain(|_, row| {
                !row.participant.is_some_and(|(program, participant)| whom(program, participant))
            });
            if rows.len() == before {
                return Ok(());
            }
            rows.clone()
        };
        self.folder.as_ref().map_or(Ok(()), |folder| write(folder, &encode(&rows)))
    }

    /// Who holds this token; `None` if it is not kept or its secret is another. One hash and one look-up, and as much
    /// of it for an id that is not kept.
    pub fn holder(&self, token: &Token) -> Option<Holder> {
        let shown = token.hash();
        let row = self.rows().get(&token.id).copied();
        // The hash of no secret that anybody knows stands in for one that is not kept.
        let hash = row.map_or(SecretHash::kept([0; 32]), |row| row.hash);
        let is_right = shown.is(&hash);
        row.filter(|_| is_right).map(|row| Holder { participant: row.participant })
    }

    /// Whom a token is bound to, without its secret; `None` if it is not kept.
    pub fn kept(&self, id: TokenId) -> Option<Holder> {
        self.rows().get(&id).map(|row| Holder { participant: row.participant })
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.rows().len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.rows().is_empty()
    }
}

fn private(path: &Path, metadata: &fs::Metadata) -> Result<(), KeptError> {
    let (mode, uid) = (metadata.mode() & 0o777, metadata.uid());
    if is_private(mode, uid, rustix::process::geteuid().as_raw()) {
        return Ok(());
    }
    Err(KeptError::Exposed { path: path.to_owned(), mode, uid })
}

/// Whether a file is this account's or root's, and nobody else may read or write it.
const fn is_private(mode: u32, uid: u32, own: u32) -> bool {
    mode & 0o077 == 0 && (uid == own || uid == 0)
}

fn encode(rows: &HashMap<TokenId, Row>) -> String {
    let mut text = format!("{FIRST_LINE}\n");
    // In one order, so that the same tokens are the same bytes.
    for (id, row) in rows.iter().collect::<BTreeMap<_, _>>() {
        let _ = write!(text, "{id} {}", STANDARD.encode(row.hash.bytes()));
        if let Some((program, participant)) = row.participant {
            let _ = write!(text, " {program} {participant}");
        }
        text.push('\n');
    }
    let sum = B64::<32>(Sha256::digest(&text).into());
    let _ = writeln!(text, "sha256 {sum}");
    text
}

fn parse(text: &str) -> Option<HashMap<TokenId, Row>> {
    let body = text.strip_suffix('\n')?;
    let (body, last) = text.split_at(body.rfind('\n')? + 1);
    if last != format!("sha256 {}\n", B64::<32>(Sha256::digest(body).into())) {
        return None;
    }
    let mut lines = body.lines();
    if lines.next() != Some(FIRST_LINE) {
        return None;
    }
    let mut rows = HashMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let (id, hash, participant) = match words[..] {
            [id, hash] => (id, hash, None),
            [id, hash, program, participant] => {
                (id, hash, Some((program.parse().ok()?, participant.parse().ok()?)))
            }
            _ => return None,
        };
        let hash = STANDARD.decode(hash).ok()?.try_into().ok()?;
        let row = Row { hash: SecretHash::kept(hash), participant };
        if rows.insert(id.parse().ok()?, row).is_some() {
            return None;
        }
    }
    Some(rows)
}

/// Draft, sync, rename, sync of the directories: the old file or the new one, never half of either.
fn write(folder: &Path, text: &str) -> Result<(), KeptError> {
    let path = folder.join("tokens");
    let failed = |error| KeptError::Io { path: path.clone(), error };
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
        Ok(()) => {
            if let Some(data) = folder.parent() {
                File::open(data).and_then(|data| data.sync_all()).map_err(failed)?;
            }
        }
    }
    private(folder, &fs::metadata(folder).map_err(failed)?)?;
    let draft = folder.join("tokens.new");
    // One that a crash has left may be anybody's: a fresh one has our mode.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&draft, &path))
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn participant() -> (ProgramId, ParticipantId) {
        (ProgramId(uuid::Uuid::from_u128(1)), ParticipantId(uuid::Uuid::from_u128(2)))
    }

    fn file(data: &Path) -> PathBuf {
        data.join("access/tokens")
    }

    /// Two tokens in a directory of their own, one of them bound.
    fn two() -> (tempfile::TempDir, Token, Token) {
        let data = tempfile::tempdir().unwrap();
        let kept = KeptTokens::open(data.path()).unwrap();
        let (free, bound) = (Token::random(), Token::random());
        kept.keep(&free, None, |_| true).unwrap();
        kept.keep(&bound, Some(participant()), |_| true).unwrap();
        (data, free, bound)
    }

    #[test]
    fn tokens_of_somebody_who_is_gone_are_forgotten_and_so_is_whose_they_were() {
        let (data, free, bound) = two();
        let kept = KeptTokens::open(data.path()).unwrap();
        let before = fs::read(file(data.path())).unwrap();
        kept.forget_bound_to(|_, _| false).unwrap();
        assert_eq!(fs::read(file(data.path())).unwrap(), before);
        kept.forget_bound_to(|program, who| (program, who) == participant()).unwrap();
        for kept in [kept, KeptTokens::open(data.path()).unwrap()] {
            assert_eq!((kept.holder(&bound), kept.len()), (None, 1));
            assert_eq!(kept.holder(&free), Some(Holder { participant: None }));
        }
        let text = fs::read_to_string(file(data.path())).unwrap();
        assert!(!text.contains(&participant().1.to_string()), "{text}");
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart_and_nothing_else_is() {
        let (data, free, bound) = two();
        let kept = KeptTokens::open(data.path()).unwrap();
        assert_eq!(kept.len(), 2);
        assert_eq!(kept.holder(&free), Some(Holder { participant: None }));
        assert_eq!(kept.holder(&bound), Some(Holder { participant: Some(participant()) }));
        assert_eq!(kept.holder(&Token::random()), None);
        assert_eq!(kept.holder(&Token::new(free.id, [0; 32])), None, "an id alone is worth nothing");
        let swapped: Token = free
            .reveal()
            .replace(&free.id.0.simple().to_string(), &bound.id.0.simple().to_string())
            .parse()
            .unwrap();
        assert_eq!(kept.holder(&swapped), None, "nor is the secret of another");
        let bytes = fs::read_to_string(file(data.path())).unwrap();
        for token in [&free, &bound] {
            assert!(!bytes.contains(&token.reveal()[37..]), "no secret is written");
        }
    }

    #[test]
    fn a_token_whose_hash_is_zeros_is_not_the_one_that_is_missing() {
        // What stands in for a missing row is no row.
        let kept = KeptTokens::in_memory();
        assert_eq!(kept.holder(&Token::new(TokenId(uuid::Uuid::nil()), [0; 32])), None);
    }

    #[test]
    fn tokens_that_are_no_longer_wanted_go_with_the_next_change() {
        let (data, free, bound) = two();
        let kept = KeptTokens::open(data.path()).unwrap();
        let third = Token::random();
        kept.keep(&third, None, |id| id != free.id).unwrap();
        for kept in [kept, KeptTokens::open(data.path()).unwrap()] {
            assert_eq!(kept.len(), 2);
            assert!(kept.holder(&free).is_none() && kept.holder(&bound).is_some());
            assert!(kept.holder(&third).is_some());
        }
    }

    #[test]
    fn a_torn_or_rotten_file_is_refused_at_every_byte_and_bit() {
        let (data, _, _) = two();
        let whole = fs::read(file(data.path())).unwrap();
        for length in 0..whole.len() {
            fs::write(file(data.path()), &whole[..length]).unwrap();
            let refused = KeptTokens::open(data.path());
            assert!(matches!(refused, Err(KeptError::Damaged(_))), "{length} bytes: {refused:?}");
        }
        for bit in 0..whole.len() * 8 {
            let mut rotten = whole.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            fs::write(file(data.path()), &rotten).unwrap();
            let refused = KeptTokens::open(data.path());
            assert!(matches!(refused, Err(KeptError::Damaged(_))), "bit {bit}: {refused:?}");
        }
        fs::write(file(data.path()), [&whole[..], b"\n"].concat()).unwrap();
        assert!(KeptTokens::open(data.path()).is_err(), "one line more");
        fs::write(file(data.path()), &whole).unwrap();
        assert!(KeptTokens::open(data.path()).is_ok());
    }

    #[test]
    fn a_file_of_another_account_lets_nobody_in() {
        assert!(is_private(0o600, 1000, 1000) && is_private(0o600, 0, 1000));
        assert!(!is_private(0o600, 1001, 1000) && !is_private(0o600, 1000, 0) && !is_private(0o640, 0, 0));
    }

    #[test]
    fn a_file_that_others_may_write_lets_nobody_in() {
        let (data, _, _) = two();
        for (path, modes) in [
            (file(data.path()), [0o640, 0o604, 0o620, 0o666]),
            (data.path().join("access"), [0o750, 0o705, 0o770, 0o777]),
        ] {
            let right = fs::metadata(&path).unwrap().permissions();
            for mode in modes {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                let refused = KeptTokens::open(data.path());
                assert!(
                    matches!(&refused, Err(KeptError::Exposed { mode: found, .. }) if *found == mode),
                    "{mode:o}: {refused:?}"
                );
            }
            fs::set_permissions(&path, right).unwrap();
        }
        assert!(KeptTokens::open(data.path()).is_ok());
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&file(data.path())), mode(&data.path().join("access"))), (0o600, 0o700));
    }

    #[test]
    fn a_change_that_cannot_be_written_changes_nothing() {
        let (data, free, _) = two();
        let kept = KeptTokens::open(data.path()).unwrap();
        let whole = fs::read(file(data.path())).unwrap();
        // The draft's name is taken by something that is no file.
        fs::create_dir(data.path().join("access/tokens.new")).unwrap();
        let fourth = Token::random();
        assert!(matches!(kept.keep(&fourth, None, |_| false), Err(KeptError::Io { .. })));
        assert!(kept.holder(&fourth).is_none() && kept.holder(&free).is_some());
        assert_eq!(fs::read(file(data.path())).unwrap(), whole);
    }
}
