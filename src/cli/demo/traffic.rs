//! A little life while somebody watches: every few seconds somebody does something, over HTTP as everybody else.
//! Never insists: what is refused, because a visitor has changed the world meanwhile, is left at that.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use mentorlog_events::entry::Actor;
use serde_json::{Map, Value};

use super::story::Story;
use crate::cli::client::{ClientError, Connection, Server};
use crate::clock::{Machine, Source as _};
use crate::rules::command::Command;
use crate::writer::Caller;

/// Time between two things that happen.
const PAUSE: Duration = Duration::from_secs(4);

/// Publishes the signed report of the last week that is over, as the office does on Mondays.
pub async fn publish_report(connection: &mut Connection, program: &str) -> Result<(), ClientError> {
    let path = format!("/v1/programs/{program}/reports");
    let answer = connection.send(Method::POST, &path, "application/json", Bytes::from_static(b"{}")).await?;
    connection.whole(answer).await.map(drop)
}

/// Goes on until the service does not answer any more, or wants to know who asks.
pub async fn keep_going(mut story: Story, address: SocketAddr) {
    let server: Server = format!("http://{address}").parse().expect("an address is one of a server");
    let mut connection = Connection::new(server);
    let mut interval = tokio::time::interval(PAUSE);
    loop {
        interval.tick().await;
        for (caller, command) in story.soon(Machine::default().wall()) {
            let path = format!("/v1/programs/{}/commands/{}", story.slug(), command.name());
            let body = body(&caller, &command);
            match connection.send(Method::POST, &path, "application/json", body).await {
                // The connection is free for the next request when the answer has been read.
                Ok(answer) => drop(connection.whole(answer).await),
                Err(ClientError::Problem { status, .. }) if status == StatusCode::UNAUTHORIZED => return,
                Err(ClientError::Problem { .. }) => {}
                Err(ClientError::NoServer { .. } | ClientError::Broken { .. }) => return,
            }
        }
    }
}

/// The command as it stands in a request, with who asks.
fn body(caller: &Caller, command: &Command) -> Bytes {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(&command.body()).expect("a command is a JSON object");
    // What is absent is left out: a body as somebody would write it.
    fields.retain(|_, value| !value.is_null());
    let actor = match caller.actor {
        Actor::Participant(id) => Some(format!("participant:{id}")),
        Actor::Manager | Actor::System => None,
    };
    if let Some(actor) = actor {
        fields.insert("actor".to_owned(), actor.into());
    }
    if let Some(person) = caller.on_behalf_of {
        fields.insert("on_behalf_of".to_owned(), person.to_string().into());
    }
    Value::Object(fields).to_string().into()
}
