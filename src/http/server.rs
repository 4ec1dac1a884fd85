//! Accepting connections with limits, serving HTTP/1.1 and HTTP/2 on them, and ending them with a deadline.
//! Never waits for a client: each of its steps has its time, and when there is no room the idle give way.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::MissedTickBehavior;
use tower::Service as _;

use super::edge::Times;
use super::edge::answers::{self, Answer, Answers, Holder};
use super::edge::counts::Limit;
use super::edge::heads::HEAD_BYTES_MAX;
use super::edge::seats::{Order, Seat, Seats, Taken};
use super::edge::stream::{Protocol, Stream, linger, tell_apart};
use super::problem::{Code, Problem};

/// Most headers of a request.
pub const HEADERS_MAX: usize = 64;

/// Most requests at once on one connection of HTTP/2.
pub const STREAMS_MAX: u32 = 32;

/// Connections that are told `busy` at once; further ones are just closed.
const TURNED_AWAY_MAX: usize = 256;

/// What all connections share.
struct Serving {
    router: Router,
    seats: Arc<Seats>,
    answers: Arc<Answers>,
    http1: http1::Builder,
    /// `None`: it is not spoken.
    http2: Option<http2::Builder<TokioExecutor>>,
}

impl Serving {
    fn new(router: Router, seats: Arc<Seats>, speaks_http2: bool) -> Self {
        let mut http1 = http1::Builder::new();
        // No timer: the sweep times heads, and also the wait for the next request, which is no head yet.
        // Who has asked and closes its side still gets its answer.
        http1.half_close(true);
        http1.header_read_timeout(None).max_headers(HEADERS_MAX).max_buf_size(HEAD_BYTES_MAX as usize);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX)
            .max_frame_size(16 * 1024)
            // What may lie here unread: of a request, and of all requests of a connection.
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(256 * 1024)
            .max_send_buf_size(64 * 1024)
            // Rapid reset (CVE-2023-44487): so many may be reset before they were looked at, and so many by us.
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(128)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        Self { router, seats, answers: Arc::default(), http1, http2: speaks_http2.then_some(http2) }
    }

    /// Answers one request.
    fn answer(&self, seat: &Arc<Seat>, request: Request<Incoming>) -> Answering {
        let under_way = seat.begin();
        let version = request.version();
        let (answers, seats) = (self.answers.clone(), self.seats.clone());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(under_way.seat().clone());
        // The router is always ready.
        let answer = self.router.clone().call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            let mut admitted = None;
            if let Some(weight) = answers::weight(&response, version) {
                let (seat, holder) = (under_way.seat(), Holder::of(&response, under_way.seat()));
                admitted = answers.admit(seat, holder, weight);
                if admitted.is_none() {
                    seats.counts().turned_away(Limit::Answers);
                    let why = "too much of what you asked for is still on its way: read it, then ask again";
                    response = Problem::new(Code::Busy, why).into_response();
                    admitted = answers.admit(seat, holder, 0);
                }
            }
            Ok(response.map(|body| Answer::new(body, admitted, under_way)))
        })
    }

    async fn attend_http1(&self, stream: Stream, service: Connected, seat: &Seat) {
        let mut connection = self.http1.serve_connection(stream, service);
        loop {
            tokio::select! {
                biased;
                // A client that breaks off is no error of ours.
                _ = poll_fn(|context| connection.poll_without_shutdown(context)) => break,
                order = seat.told() => match order {
                    Order::Stay => {}
                    Order::Finish => Pin::new(&mut connection).graceful_shutdown(),
                    Order::Cut => return,
                },
            }
        }
        let mut stream = connection.into_parts().io;
        if seat.order() == Order::Stay {
            tokio::select! {
                () = stream.linger() => {}
                _ = seat.told() => {}
            }
        }
    }

    /// Serves one connection to its end.
    async fn attend(self: Arc<Self>, stream: TcpStream, taken: Taken) {
        let seat = &taken.seat;
        let told = tokio::select! {
            told = tell_apart(stream, seat) => told,
            // Nothing was asked yet: whether to finish or to cut is the same.
            _ = seat.told() => None,
        };
        let Some((protocol, stream)) = told else { return };
        let service = Connected { serving: self.clone(), seat: seat.clone() };
        match protocol {
            // In a box of its own, as below: whoever sends no head takes no room for it.
            Protocol::Http1 => Box::pin(self.attend_http1(stream, service, seat)).await,
            Protocol::Http2 => {
                let Some(http2) = &self.http2 else { return };
                let connection = http2.serve_connection(stream, service);
                Box::pin(until_told(connection, seat)).await;
            }
        }
    }
}

/// One connection, as the library sees it.
struct Connected {
    serving: Arc<Serving>,
    seat: Arc<Seat>,
}

impl hyper::service::Service<Request<Incoming>> for Connected {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.serving.answer(&self.seat, request)
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

/// Drives a connection of HTTP/2 until it ends or its seat is told to end it.
async fn until_told(connection: http2::Connection<Stream, Connected, TokioExecutor>, seat: &Seat) {
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            biased;
            // A client that breaks off is no error of ours.
            _ = connection.as_mut() => return,
            order = seat.told() => match order {
                Order::Stay => {}
                Order::Finish => connection.as_mut().graceful_shutdown(),
                Order::Cut => return,
            },
        }
    }
}

/// Serves until `stop` is ready, then lets open requests finish, up to a deadline.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    seats: Arc<Seats>,
    speaks_http2: bool,
    times: Times,
    stop: impl Future<Output = ()>,
) {
    let serving = Arc::new(Serving::new(router, seats.clone(), speaks_http2));
    let turned_away = Arc::new(AtomicUsize::new(0));
    let mut sweeps = tokio::time::interval(times.sweep);
    // Time that the machine slept through is nobody's fault.
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            _ = sweeps.tick() => {
                seats.sweep();
                serving.answers.sweep();
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => accept(&serving, &seats, &turned_away, stream, peer),
                Err(error) => {
                    // Mostly too many open files: the idle give way, and have a moment to close theirs.
                    tracing::warn!(%error, "a connection could not be accepted");
                    seats.make_room();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    seats.tell(Order::Finish);
    let mut empty = pin!(seats.empty());
    let mut deadline = pin!(tokio::time::sleep(times.drain));
    let mut is_late = false;
    loop {
        tokio::select! {
            () = &mut empty => return,
            () = &mut deadline, if !is_late => {
                is_late = true;
                tracing::warn!(
                    connections = seats.count(),
                    "some connections were still open after {} s and are cut",
                    times.drain.as_secs_f64()
                );
                seats.tell(Order::Cut);
            }
            _ = sweeps.tick() => {
                if is_late {
                    // They had a moment; what still runs ends with the runtime.
                    return;
                }
                seats.sweep();
                serving.answers.sweep();
            }
        }
    }
}

fn accept(
    serving: &Arc<Serving>,
    seats: &Arc<Seats>,
    turned_away: &Arc<AtomicUsize>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    // Answers are small and waited for.
    let _ = stream.set_nodelay(true);
    seats.counts().accepted();
    if let Some(taken) = seats.take(peer) {
        tokio::spawn(serving.clone().attend(stream, taken));
        return;
    }
    seats.counts().turned_away(Limit::Connections);
    if turned_away.fetch_add(1, Ordering::AcqRel) < TURNED_AWAY_MAX {
        let turned_away = turned_away.clone();
        tokio::spawn(async move {
            turn_away(stream).await;
            turned_away.fetch_sub(1, Ordering::AcqRel);
        });
    } else {
        turned_away.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Tells somebody for whom there is no room, in the words of a problem, and hangs up.
async fn turn_away(mut stream: TcpStream) {
    let problem = Problem::new(Code::Busy, "too many connections are open: try again in a moment");
    let body = problem.document().to_string();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
         retry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A fresh connection has room for so little.
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        linger(&mut stream).await;
    }
}
