//! Where a history is: at a server, or in a data directory that no server uses.
//! Never makes a data directory: who only reads must find one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytes::Bytes;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{LedgerId, ProgramId, Slug};
use tokio::runtime::Runtime;

use super::Failure;
use super::client::{Bearer, Connection, Server};
use super::serve;
use crate::ledger::merkle::Tree;
use crate::ledger::sled::SledLog;
use crate::rules::registry::RegistryState;
use crate::writer::replay::{Replayed, replay};

/// Where `serve` listens unless it is told otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:7171";

/// Where `serve` keeps its data unless it is told otherwise.
const DEFAULT_DATA: &str = "mentorlog-data";

/// The options that say where a program is.
#[derive(clap::Args)]
#[group(multiple = false)]
pub struct Where {
    /// The server to ask. Without --server and --data: http://127.0.0.1:7171 if a server answers there,
    /// else the data directory $MENTORLOG_DATA or ./mentorlog-data.
    #[arg(long, env = "MENTORLOG_SERVER", value_name = "URL")]
    server: Option<Server>,
    /// The data directory to open; no server may be using it.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    bearer: Bearer,
}

/// A program's name in paths, or its UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramName {
    /// Its UUID.
    Id(ProgramId),
    /// Its slug.
    Slug(Slug),
}

impl FromStr for ProgramName {
    type Err = mentorlog_events::id::NotASlug;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => text.parse().map(Self::Slug),
        }
    }
}

impl std::fmt::Display for ProgramName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Slug(slug) => slug.fmt(f),
        }
    }
}

/// Where a program is.
pub enum Source {
    /// At a server.
    Server(Server),
    /// In a data directory.
    Data(PathBuf),
}

impl Where {
    /// Finds out which of the two it is.
    pub fn find(&self, runtime: &Runtime) -> Result<Source, Failure> {
        // --data on the command line is meant, also where $MENTORLOG_SERVER is set.
        if let Some(data) = &self.data {
            return Ok(Source::Data(data.clone()));
        }
        if let Some(server) = &self.server {
            return Ok(Source::Server(self.bearer.to(server.clone())?));
        }
        let server: Server = DEFAULT_SERVER.parse().expect("the default is an address");
        if runtime.block_on(answers(&server)) {
            return Ok(Source::Server(self.bearer.to(server)?));
        }
        let data = std::env::var_os("MENTORLOG_DATA").filter(|data| !data.is_empty());
        Ok(Source::Data(data.map_or_else(|| DEFAULT_DATA.into(), PathBuf::from)))
    }
}

/// Whether it is mentorlog that answers there.
async fn answers(server: &Server) -> bool {
    let mut connection = Connection::new(server.clone());
    let answer = tokio::time::timeout(std::time::Duration::from_secs(2), connection.get("/healthz")).await;
    matches!(answer, Ok(Ok(body)) if body == Bytes::from_static(b"{\"status\":\"ok\"}"))
}

/// A runtime for a client: what a command does it does one after the other.
pub fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)
}

/// A data directory, opened for reading.
pub struct Stored {
    /// Its log.
    pub log: SledLog,
    /// The tree of every ledger in it.
    pub trees: BTreeMap<LedgerId, Tree>,
}

impl Stored {
    /// Opens a data directory as a server's start would: what an unclean stop left behind is settled.
    pub fn open(data: &Path) -> Result<Self, Failure> {
        if !["INSTALLATION", "sled", "tail"].iter().any(|name| data.join(name).exists()) {
            return Err(Failure::new(format_args!(
                "{} is not a data directory: name one with --data, or a server with --server",
                data.display()
            )));
        }
        let opened = serve::open_log(data)?;
        for finding in opened.report.findings.iter().filter(|finding| finding.warning) {
            eprintln!("mentorlog: {finding}");
        }
        Ok(Self { log: opened.log, trees: opened.heads })
    }

    /// Reads with it, and closes it whatever came of that.
    pub fn and_close<T>(self, read: impl FnOnce(&Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let done = read(&self);
        let closed = self.log.close().map_err(Failure::new);
        let done = done?;
        closed.map(|()| done)
    }

    /// The ledger of a program, and its tree.
    pub fn program(&self, name: &ProgramName) -> Result<(LedgerId, &Tree), Failure> {
        let registry_size = self.trees.get(&LedgerId::REGISTRY).map_or(0, Tree::size);
        let mut registry = RegistryState::new();
        let range = 0..registry_size;
        replay::<RegistryEvent>(&self.log, LedgerId::REGISTRY, range, false, |Replayed { entry, .. }| {
            registry.apply(entry).map_err(|error| {
                let (ledger, seq) = (LedgerId::REGISTRY, entry.seq);
                crate::writer::replay::ReplayError::Contradiction { ledger, seq, what: error.to_string() }
            })
        })
        .map_err(damaged)?;
        let found = match name {
            ProgramName::Id(id) => registry.slug(*id).map(|_| *id),
            ProgramName::Slug(slug) => registry.program(slug.as_str()),
        };
        let tree = found.and_then(|id| Some((LedgerId::from(id), self.trees.get(&id.into())?)));
        tree.ok_or_else(|| {
            let slugs: Vec<&str> = registry.programs().map(|(_, slug)| slug.as_str()).collect();
            let there = if slugs.is_empty() { "none".to_owned() } else { slugs.join(", ") };
            Failure::new(format_args!("there is no program `{name}` here; there is: {there}"))
        })
    }
}

/// The history does not hold together.
pub fn damaged(error: impl std::fmt::Display) -> Failure {
    Failure::coded(5, format_args!("{error}; `mentorlog doctor` shows what the directory holds"))
}
