//! Asks witnesses to cosign the registry's checkpoint (C2SP tlog-witness v1.0.0, tlog-cosignature v1.0.1).
//! Never holds anything up: without a cosignature the checkpoint is served without, and says so by its absence.
//!
//! A witness remembers the largest checkpoint of each log it has seen and cosigns only what continues it. So whoever
//! trusts a witness learns of a registry that was cut back or rewritten, though its own key has signed it.
//! Plain HTTP only: a witness behind TLS is reached through a proxy or tunnel on this machine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::auditable::Signed;
use super::published::{Published, lock};
use super::publisher::Shelf;
use crate::ledger::checkpoint::decimal;
use crate::ledger::note::{KeyKind, Note, SignatureLine, VerifierKey};

/// How long a witness may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What failed is tried again after so long, or when the registry has grown.
const AGAIN: Duration = Duration::from_secs(30);

/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where a witness is, and how its word is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessAddress {
    authority: String,
    host: String,
    port: u16,
    prefix: String,
    vkey: VerifierKey,
}

/// Why there can be no such witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAWitness {
    /// Its address is of another form.
    #[error(
        "not the address of a witness: http://host:port, perhaps with a path (https needs a tunnel on this machine)"
    )]
    Address,
    /// Its key is none of a cosigner.
    #[error(
        "a witness's key is of type 0x04, an Ed25519 cosigner's: name+<8 hex digits>+<base64 beginning with BA..BD>"
    )]
    Key,
}

impl WitnessAddress {
    /// A witness at a URL, whose word is known by a cosigner's key.
    pub fn new(url: &str, vkey: VerifierKey) -> Result<Self, NotAWitness> {
        if vkey.kind() != KeyKind::CosignatureV1 {
            return Err(NotAWitness::Key);
        }
        let uri: Uri = url.parse().map_err(|_| NotAWitness::Address)?;
        let authority = uri.authority().ok_or(NotAWitness::Address)?;
        let plain =
            !authority.as_str().contains('@') && !authority.host().is_empty() && uri.query().is_none();
        if uri.scheme_str() != Some("http") || !plain {
            return Err(NotAWitness::Address);
        }
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            authority: authority.to_string(),
            vkey,
        })
    }
}

/// What is known of a witness.
pub struct Witness {
    address: WitnessAddress,
    seen: Mutex<Seen>,
    failures: AtomicU64,
}

/// How far a witness has cosigned, and what stands in the way of more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Size of the largest registry it has cosigned, as far as is known here; 0: none.
    pub size: u64,
    /// When it did, in POSIX seconds by its own clock; `None`: not since this start, nor in the stored checkpoint.
    pub time: Option<u64>,
    /// Why the last attempt failed; `None`: it did not.
    pub problem: Option<String>,
}

impl Witness {
    pub(super) fn new(address: WitnessAddress) -> Self {
        Self { address, seen: Mutex::default(), failures: AtomicU64::new(0) }
    }

    /// Its key.
    pub fn vkey(&self) -> &VerifierKey {
        &self.address.vkey
    }

    /// How far it has cosigned.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Attempts that failed since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// When it vouched for this note, if it did.
    fn vouched(&self, note: &Note) -> Option<u64> {
        note.verify([self.vkey()]).ok()?.first()?.time
    }

    fn cosigned(&self, size: u64, time: u64) {
        *lock(&self.seen) = Seen { size, time: Some(time), problem: None };
    }
}

/// Why a witness has not cosigned. The checkpoint is what it was.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it answered {0}: {1}")]
    Refused(StatusCode, String),
    #[error("it has seen {theirs} entries of the registry, which has {ours}: the registry was cut back")]
    Ahead { theirs: u64, ours: u64 },
    #[error("its answer is no cosignature of its key")]
    NoCosignature,
    #[error("{0}")]
    Ours(String),
}

/// Asks every witness for every checkpoint of the registry until `stop` is closed.
pub(super) async fn ask_all(shelf: Arc<Shelf>, stop: watch::Receiver<()>) {
    let asking = shelf.published().witnesses.clone().into_iter().map(|witness| {
        let (shelf, stop) = (shelf.clone(), stop.clone());
        tokio::spawn(async move { ask(&shelf, &witness, stop).await })
    });
    for asked in asking.collect::<Vec<_>>() {
        if asked.await.is_err() {
            tracing::error!("asking a witness panicked; it is asked again after a restart");
        }
    }
}

async fn ask(shelf: &Arc<Shelf>, witness: &Witness, mut stop: watch::Receiver<()>) {
    let registry = shelf.published().registry_auditable().clone();
    let mut shown = registry.checkpoints();
    let name = witness.vkey().name().as_str();
    loop {
        let signed = registry.signed();
        shown.borrow_and_update();
        let mut is_done = true;
        if let Some(signed) = signed {
            if let Some(time) = witness.vouched(&signed.note) {
                witness.cosigned(signed.checkpoint.size, time);
            } else {
                let asked = tokio::select! {
                    asked = cosign(shelf, witness, &signed) => asked,
                    _ = stop.changed() => return,
                };
                if let Err(failed) = asked {
                    tracing::warn!(witness = name, %failed, "the registry's checkpoint is not cosigned");
                    witness.failures.fetch_add(1, Ordering::Relaxed);
                    lock(&witness.seen).problem = Some(failed.to_string());
                    is_done = false;
                }
            }
        }
        tokio::select! {
            _ = stop.changed() => return,
            changed = shown.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if !is_done => {}
        }
    }
}

/// One checkpoint: from what the witness has seen to what it is asked to vouch for.
async fn cosign(shelf: &Arc<Shelf>, witness: &Witness, signed: &Signed) -> Result<(), Failed> {
    let ours = signed.checkpoint.size;
    let mut old = lock(&witness.seen).size.min(ours);
    for _ in 0..2 {
        let (status, answer) = add_checkpoint(shelf, witness, signed, old).await?;
        match status {
            StatusCode::OK => {
                let text = std::str::from_utf8(&answer).map_err(|_| Failed::NoCosignature)?;
                for line in text.split_terminator('\n') {
                    let Ok(line) = line.parse::<SignatureLine>() else { continue };
                    let alone = Note::signed(signed.note.text().to_owned(), vec![line.clone()]);
                    let Some(time) = alone.ok().and_then(|note| witness.vouched(&note)) else { continue };
                    // Before the line is shown, so that nobody sees it there and is told here that there is none.
                    witness.cosigned(ours, time);
                    let (shelf, text) = (shelf.clone(), signed.note.text().to_owned());
                    let kept = tokio::task::spawn_blocking(move || shelf.cosigned(&text, line)).await;
                    let kept = kept.map_err(|error| Failed::Ours(error.to_string()))?;
                    return kept.map_err(|error| Failed::Ours(error.to_string()));
                }
                return Err(Failed::NoCosignature);
            }
            // `text/x.tlog.size`: the size it has seen.
            StatusCode::CONFLICT => {
                let size =
                    std::str::from_utf8(&answer).ok().and_then(|text| decimal(text.trim_end_matches('\n')));
                match size {
                    Some(theirs) if theirs > ours => return Err(Failed::Ahead { theirs, ours }),
                    Some(theirs) if theirs != old => old = theirs,
                    Some(_) | None => return Err(refused(status, &answer)),
                }
            }
            status => return Err(refused(status, &answer)),
        }
    }
    Err(Failed::Refused(StatusCode::CONFLICT, "it names another size each time".to_owned()))
}

fn refused(status: StatusCode, answer: &[u8]) -> Failed {
    let what = match status {
        StatusCode::FORBIDDEN => "it knows none of the keys that signed",
        StatusCode::NOT_FOUND => "it does not know this log",
        StatusCode::UNPROCESSABLE_ENTITY => "it has seen another history of this log",
        _ => "",
    };
    let text: String =
        String::from_utf8_lossy(answer).chars().filter(|c| !c.is_control()).take(200).collect();
    Failed::Refused(status, if what.is_empty() { text } else { format!("{what} ({text})") })
}

/// `POST <prefix>/add-checkpoint`.
async fn add_checkpoint(
    shelf: &Arc<Shelf>,
    witness: &Witness,
    signed: &Signed,
    old: u64,
) -> Result<(StatusCode, Bytes), Failed> {
    let new = signed.checkpoint.size;
    let proving = shelf.clone();
    let proof = tokio::task::spawn_blocking(move || {
        let published: &Published = proving.published();
        published.registry_auditable().provable(&*published.log, new).consistency(old, new)
    });
    let proof = proof.await.map_err(|error| Failed::Ours(error.to_string()))?;
    let proof = proof.map_err(|error| Failed::Ours(error.to_string()))?.unwrap_or_default();
    let mut body = format!("old {old}\n");
    for hash in proof {
        body.push_str(&STANDARD.encode(hash));
        body.push('\n');
    }
    body.push('\n');
    body.push_str(&signed.note.to_string());
    let address = &witness.address;
    let unreachable = |error: &dyn std::fmt::Display| Failed::Unreachable(error.to_string());
    let asking = async {
        let stream = TcpStream::connect((address.host.as_str(), address.port));
        let stream = stream.await.map_err(|error| unreachable(&error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|error| unreachable(&error))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/add-checkpoint", address.prefix))
            .header(HOST, &address.authority)
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| unreachable(&error))?;
        let response = sender.send_request(request).await.map_err(|error| unreachable(&error))?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        connection.abort();
        Ok((status, answer.map_err(|error| unreachable(&error))?.to_bytes()))
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, asking).await {
        Ok(answered) => answered,
        Err(_) => Err(unreachable(&format_args!("no answer within {ANSWER_TIMEOUT:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::note::Signer;

    #[test]
    fn a_witness_has_a_plain_address_and_a_cosigners_key() {
        let cosigner = Signer::cosigner("witness.example/w".parse().unwrap(), &[1; 32]);
        let log = Signer::new("witness.example/w".parse().unwrap(), &[1; 32]);
        let at = |url| WitnessAddress::new(url, cosigner.public().clone());
        let witness = at("http://127.0.0.1:8080/a/b/").unwrap();
        assert_eq!(
            (witness.host.as_str(), witness.port, witness.prefix.as_str()),
            ("127.0.0.1", 8080, "/a/b")
        );
        let witness = at("http://[::1]").unwrap();
        assert_eq!((witness.host.as_str(), witness.port, witness.prefix.as_str()), ("::1", 80, ""));
        for bad in
            ["https://w.example", "127.0.0.1:80", "http://u@w.example", "http://w.example/?a", "/a", ""]
        {
            assert_eq!(at(bad), Err(NotAWitness::Address), "{bad}");
        }
        assert_eq!(WitnessAddress::new("http://w", log.public().clone()), Err(NotAWitness::Key));
    }
}
