//! The service inside this process, for a command that finds no server: the same router, on a port of its own.
//! Never listens for others: the address is of this machine alone, nobody is told, and whoever finds it needs the
//! token that this process made for itself and told nobody.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::client::Server;
use super::{Failure, serve};
use crate::access::kept::KeptTokens;
use crate::clock::{Clock, Machine};
use crate::http::guard::Access;
use crate::http::{self, App};
use crate::ledger::Log;
use crate::ledger::sled::SledLog;
use crate::writer::publisher::Publishing;
use crate::writer::{Running, Writer};
use mentorlog_events::id::LedgerId;

/// A server of this process.
pub struct Embedded {
    /// Where it listens, with the one token that opens it.
    pub server: Server,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    running: Running,
    log: Arc<SledLog>,
}

impl Embedded {
    /// Opens the store of a data directory, making it if need be, and serves it.
    pub fn start(data: &Path) -> Result<Self, Failure> {
        if let Some(why) = serve::read_only(data)? {
            return Err(Failure::new(format_args!("{} is read-only: {why}", data.display())));
        }
        let (opened, keys) = serve::open(data)?;
        for finding in opened.report.findings.iter().filter(|finding| finding.warning) {
            eprintln!("mentorlog: {finding}");
        }
        let log = Arc::new(opened.log);
        let registry_secret = keys.of_ledger(LedgerId::REGISTRY);
        let clock = Clock::start(Machine::default());
        let publishing = Publishing::Into { data: data.to_owned(), witnesses: Vec::new() };
        let started = Writer::start(&(log.clone() as Arc<dyn Log>), opened.heads, keys, clock, publishing);
        let (writer, running) = started.map_err(|error| Failure::coded(5, error))?;
        let kept = KeptTokens::open(data).map_err(|error| Failure::coded(5, error))?;
        let (access, token) = Access::own(kept);
        let app = Arc::new(App::new(writer, registry_secret, access));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("serve")
            .enable_all()
            .build()
            .map_err(Failure::new)?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).map_err(Failure::new)?;
        let address = listener.local_addr().map_err(Failure::new)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = std::thread::Builder::new().name("serve".into()).spawn(move || {
            runtime.block_on(http::serve(listener, app, async {
                let _ = stopped.await;
            }));
        });
        let server: Server = format!("http://{address}").parse().map_err(Failure::new)?;
        let server = server.with(&token);
        Ok(Self { server, stop, serving: serving.map_err(Failure::new)?, running, log })
    }

    /// Ends it in order: whatever was accepted is committed, and then the store is closed.
    pub fn stop(self) -> Result<(), Failure> {
        let _ = self.stop.send(());
        self.serving.join().map_err(|_| Failure::new("the service inside this process panicked"))?;
        self.running.join();
        self.log.close().map_err(Failure::new)
    }
}
