//! The client side of the HTTP interface: one connection, opened again when it breaks.
//! Never repeats a request by itself: whether that is safe only the caller knows.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use super::Failure;
use crate::access::token::Token;

/// How long a connection may take to be opened.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the service may take to begin its answer, and between two pieces of it.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    authority: String,
    host: String,
    port: u16,
    /// What is shown to it; marked as sensitive, so that it is never printed.
    bearer: Option<HeaderValue>,
}

impl Server {
    /// The same server, shown this token with every request.
    pub fn with(mut self, token: &Token) -> Self {
        let text = zeroize::Zeroizing::new(format!("Bearer {}", *token.reveal()));
        let mut value = HeaderValue::from_str(&text).expect("a token is plain ASCII");
        value.set_sensitive(true);
        self.bearer = Some(value);
        self
    }
}

/// The variable a token is taken from where no file is named.
const TOKEN_VARIABLE: &str = "MENTORLOG_TOKEN";

/// Which token is shown to a server. Never on the command line itself, where everybody on the machine can read it.
#[derive(clap::Args)]
pub struct Bearer {
    /// The file with the token that is shown to the server. [default: the token in $MENTORLOG_TOKEN, if it is set]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Bearer {
    /// Reads the token; `None` if none is named.
    pub fn read(&self) -> Result<Option<Token>, Failure> {
        let (text, from) = match &self.token_file {
            Some(path) => {
                let failed = |error| Failure::new(format_args!("{}: {error}", path.display()));
                (std::fs::read_to_string(path).map_err(failed)?, path.display().to_string())
            }
            None => match std::env::var(TOKEN_VARIABLE) {
                Ok(text) if !text.is_empty() => (text, format!("${TOKEN_VARIABLE}")),
                Ok(_) | Err(std::env::VarError::NotPresent) => return Ok(None),
                Err(std::env::VarError::NotUnicode(_)) => (String::new(), format!("${TOKEN_VARIABLE}")),
            },
        };
        let text = zeroize::Zeroizing::new(text);
        text.trim().parse().map(Some).map_err(|error| Failure::new(format_args!("{from}: {error}")))
    }

    /// The server, shown the token if one is named.
    pub fn to(&self, server: Server) -> Result<Server, Failure> {
        Ok(match self.read()? {
            Some(token) => server.with(&token),
            None => server,
        })
    }
}

/// The text is not the address of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the address of a server: give scheme, host and port, e.g. http://127.0.0.1:7171 (https needs a tunnel)"
)]
pub struct NotAServer;

impl std::str::FromStr for Server {
    type Err = NotAServer;

    fn from_str(text: &str) -> Result<Self, NotAServer> {
        let uri: Uri = text.parse().map_err(|_| NotAServer)?;
        let rest = uri.path_and_query().map_or("", |rest| rest.as_str());
        if uri.scheme_str() != Some("http") || !matches!(rest, "" | "/") {
            return Err(NotAServer);
        }
        let authority = uri.authority().ok_or(NotAServer)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(NotAServer);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self { authority: authority.to_string(), host, port, bearer: None })
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// Why there is no answer to a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing was sent.
    #[error(
        "no server answers at {server}: {detail}; start one with `mentorlog serve`, or give --server or --data"
    )]
    NoServer {
        /// Where.
        server: Server,
        /// The operating system's words.
        detail: String,
    },
    /// The request may or may not have been taken.
    #[error("the connection to {server} broke off: {detail}")]
    Broken {
        /// To where.
        server: Server,
        /// What happened.
        detail: String,
    },
    /// The service's answer is a problem.
    #[error("{server} answered {status}: {detail} ({code})")]
    Problem {
        /// Who answered.
        server: Server,
        /// The status.
        status: StatusCode,
        /// The stable code; empty if it was not the service that answered.
        code: String,
        /// What to do.
        detail: String,
    },
}

impl ClientError {
    /// The code of the problem the service answered with.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem { code, .. } => Some(code),
            Self::NoServer { .. } | Self::Broken { .. } => None,
        }
    }
}

/// A connection to a server. Opened at the first request, and again after it broke.
pub struct Connection {
    server: Server,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// A connection that is not open yet.
    pub const fn new(server: Server) -> Self {
        Self { server, sender: None }
    }

    async fn open(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, ClientError> {
        let no_server = |detail: String| ClientError::NoServer { server: self.server.clone(), detail };
        let usable = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let connecting = TcpStream::connect((self.server.host.as_str(), self.server.port));
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
            let stream = stream
                .map_err(|_| no_server(format!("not within {} s", CONNECT_TIMEOUT.as_secs())))?
                .map_err(|error| no_server(error.to_string()))?;
            // Requests are small or whole batches, and waited for.
            let _ = stream.set_nodelay(true);
            let (sender, connection) =
                handshake(TokioIo::new(stream)).await.map_err(|error| no_server(error.to_string()))?;
            // Its error is the error of the request that was under way.
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        Ok(self.sender.as_mut().expect("it was just opened"))
    }

    /// Sends a request and waits for the head of its answer; an answer that is not a success is a problem.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        media: &'static str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::new(Full::new(body));
        let broken = |server: &Server, detail: &dyn std::fmt::Display| ClientError::Broken {
            server: server.clone(),
            detail: detail.to_string(),
        };
        *request.uri_mut() = path.parse().map_err(|error| broken(&self.server, &error))?;
        let host = self.server.authority.parse().map_err(|error| broken(&self.server, &error))?;
        request.headers_mut().insert(HOST, host);
        if let Some(bearer) = &self.server.bearer {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        let media = HeaderValue::from_static(media);
        request.headers_mut().insert(if method == Method::GET { ACCEPT } else { CONTENT_TYPE }, media);
        *request.method_mut() = method;
        let sender = self.open().await?;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, sender.send_request(request)).await;
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                self.sender = None;
                return Err(broken(&self.server, &error));
            }
            Err(_) => {
                self.sender = None;
                let detail = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
                return Err(broken(&self.server, &detail));
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Problem {
            code: String,
            detail: String,
        }
        let status = response.status();
        let body = self.whole(response).await?;
        let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        Err(ClientError::Problem {
            server: self.server.clone(),
            status,
            code: problem.code,
            detail: if problem.detail.is_empty() {
                "not an answer of mentorlog".into()
            } else {
                problem.detail
            },
        })
    }

    /// Asks for a JSON document.
    pub async fn get(&mut self, path: &str) -> Result<Bytes, ClientError> {
        let response = self.send(Method::GET, path, "application/json", Bytes::new()).await?;
        self.whole(response).await
    }

    /// Reads the whole body of an answer.
    pub async fn whole(&mut self, mut response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece(&mut response).await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }

    /// The next piece of an answer's body, or none at its end.
    pub async fn piece(&mut self, response: &mut Response<Incoming>) -> Result<Option<Bytes>, ClientError> {
        loop {
            let detail = match tokio::time::timeout(ANSWER_TIMEOUT, response.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) => return Ok(Some(piece)),
                    // Trailers carry nothing here.
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => error.to_string(),
                Err(_) => format!("nothing came for {} s", ANSWER_TIMEOUT.as_secs()),
            };
            self.sender = None;
            return Err(ClientError::Broken { server: self.server.clone(), detail });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_for_a_server_is_never_printed() {
        let token = Token::random();
        let server: Server = "http://127.0.0.1:7171".parse().unwrap();
        let server = server.with(&token);
        let printed = format!("{server} {server:?} {server:#?}");
        assert!(!printed.contains(&token.reveal()[37..]), "{printed}");
    }

    #[test]
    fn a_server_is_scheme_host_and_port() {
        let server: Server = "http://127.0.0.1:7171".parse().unwrap();
        assert_eq!((server.host.as_str(), server.port), ("127.0.0.1", 7171));
        let server: Server = "http://[::1]:80/".parse().unwrap();
        assert_eq!((server.host.as_str(), server.port), ("::1", 80));
        for bad in ["127.0.0.1:7171", "https://a", "http://a/b", "http://u@a", "a", ""] {
            assert_eq!(bad.parse::<Server>(), Err(NotAServer), "{bad}");
        }
    }
}
