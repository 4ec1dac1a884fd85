//! Where the files of a log are: in a directory, or below an address that any web server serves.
//! Never follows a link and never writes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::Method;
use hyper::StatusCode;
use tokio::runtime::Runtime;

use super::client::{ClientError, Connection, Server};
use crate::access::token::Token;
use crate::ledger::tiled::{Folder, Resources, Unfetched};

/// A directory, or an address with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On this machine.
    Folder(PathBuf),
    /// At a web server: where, and the path without its last slash.
    Web(Server, String),
}

/// The text is not the address of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a directory or an address: give a path, or http://host:port/path (https needs a tunnel, or a copy of the files)"
)]
pub struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return if text.is_empty() { Err(NotAPlace) } else { Ok(Self::Folder(text.into())) };
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
        let server = format!("{scheme}://{authority}").parse().map_err(|_| NotAPlace)?;
        let path = path.trim_end_matches('/');
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        if plain { Ok(Self::Web(server, prefix)) } else { Err(NotAPlace) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => path.display().fmt(f),
            Self::Web(server, prefix) => write!(f, "{server}{prefix}"),
        }
    }
}

impl Place {
    /// The same place, its server shown this token; a directory needs none.
    pub fn with(self, token: &Token) -> Self {
        match self {
            Self::Folder(path) => Self::Folder(path),
            Self::Web(server, prefix) => Self::Web(server.with(token), prefix),
        }
    }

    /// A place below this one.
    pub fn join(&self, part: &str) -> Self {
        match self {
            Self::Folder(path) => Self::Folder(path.join(part)),
            Self::Web(server, prefix) => Self::Web(server.clone(), format!("{prefix}/{part}")),
        }
    }

    /// The place this one is in, and its name there.
    pub fn parent(&self) -> Option<(Self, String)> {
        match self {
            Self::Folder(path) => {
                let name = path.file_name()?.to_str()?.to_owned();
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                Some((Self::Folder(parent.unwrap_or(Path::new(".")).to_owned()), name))
            }
            Self::Web(server, prefix) => {
                let (parent, name) = prefix.rsplit_once('/')?;
                Some((Self::Web(server.clone(), parent.to_owned()), name.to_owned()))
            }
        }
    }

    /// What is there to be fetched.
    pub fn resources(&self) -> Arc<dyn Resources> {
        match self {
            Self::Folder(path) => Arc::new(Folder(path.clone())),
            Self::Web(server, prefix) => {
                Arc::new(Web { server: server.clone(), prefix: prefix.clone(), idle: Mutex::default() })
            }
        }
    }
}

/// Files at a web server; each thread that fetches has a connection of its own meanwhile.
struct Web {
    server: Server,
    prefix: String,
    idle: Mutex<Vec<(Runtime, Connection)>>,
}

impl Resources for Web {
    fn fetch(&self, path: &str, most: usize) -> Result<Option<Bytes>, Unfetched> {
        let path = format!("{}/{path}", self.prefix);
        let unfetched = |detail: &dyn fmt::Display| Unfetched {
            path: format!("{}{path}", self.server),
            detail: detail.to_string(),
            denied: false,
        };
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let (runtime, mut connection) = if let Some(kept) = kept {
            kept
        } else {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            (runtime.map_err(|error| unfetched(&error))?, Connection::new(self.server.clone()))
        };
        let mut fetched = runtime.block_on(fetch(&mut connection, &path, most));
        if let Err(ClientError::Broken { .. }) = fetched {
            // Many servers end a connection after an answer; fetching a file again changes nothing.
            fetched = runtime.block_on(fetch(&mut connection, &path, most));
        }
        idle().push((runtime, connection));
        match fetched {
            Ok(Some(bytes)) if bytes.len() > most => {
                Err(unfetched(&format_args!("it is longer than {most} bytes")))
            }
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(Unfetched { denied: error.code() == Some("forbidden"), ..unfetched(&error) }),
        }
    }
}

async fn fetch(connection: &mut Connection, path: &str, most: usize) -> Result<Option<Bytes>, ClientError> {
    let mut response = match connection.send(Method::GET, path, "*/*", Bytes::new()).await {
        Ok(response) => response,
        Err(ClientError::Problem { status: StatusCode::NOT_FOUND, .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut whole = Vec::new();
    while let Some(piece) = connection.piece(&mut response).await? {
        whole.extend_from_slice(&piece);
        if whole.len() > most {
            break;
        }
    }
    Ok(Some(whole.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_an_address_with_a_path() {
        let place: Place = "http://127.0.0.1:80/log/spring/".parse().unwrap();
        assert_eq!(place.to_string(), "http://127.0.0.1:80/log/spring");
        assert_eq!(place.join("tile").to_string(), "http://127.0.0.1:80/log/spring/tile");
        let (parent, name) = place.parent().unwrap();
        assert_eq!((parent.to_string().as_str(), name.as_str()), ("http://127.0.0.1:80/log", "spring"));
        let top: Place = "http://127.0.0.1:80".parse().unwrap();
        assert_eq!((top.to_string().as_str(), top.parent()), ("http://127.0.0.1:80", None));
        let folder: Place = "bundle".parse().unwrap();
        assert_eq!(folder.parent().unwrap().0, Place::Folder(".".into()));
        for bad in ["", "https://a/b", "ftp://a", "http://a/b?c", "http://a/b c", "http://u@a/b"] {
            assert_eq!(bad.parse::<Place>(), Err(NotAPlace), "{bad}");
        }
    }
}
