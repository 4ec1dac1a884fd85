//! Every route of the service, with what it needs: the one table.
//! Never adds a route that does not say what it needs: a way in is a method, a permission and a handler, or it is not.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware;
use axum::routing::{self, MethodRouter};

use super::problem::{Code, Problem};
use super::{
    App, COMMAND, COMMANDS, PROGRAMS, catalogue, commands, docs, edge, guard, healthz, measures, metrics,
    openapi, outsiders, pairing, personal, proofs, reads, readyz, reports, stream, tables, tokens,
};
use crate::access::permission::Permission;

/// One method of a path.
struct Way {
    method: Method,
    needs: Permission,
    handler: MethodRouter<Arc<App>>,
}

fn get<H: Handler<T, Arc<App>>, T: 'static>(needs: Permission, handler: H) -> Way {
    Way { method: Method::GET, needs, handler: routing::get(handler) }
}

fn post<H: Handler<T, Arc<App>>, T: 'static>(needs: Permission, handler: H) -> Way {
    Way { method: Method::POST, needs, handler: routing::post(handler) }
}

fn delete<H: Handler<T, Arc<App>>, T: 'static>(needs: Permission, handler: H) -> Way {
    Way { method: Method::DELETE, needs, handler: routing::delete(handler) }
}

type Route = (&'static str, Vec<Way>);

/// The table: every path with its ways in.
#[rustfmt::skip]
fn table() -> Vec<Route> {
    use Permission::{
        Command, CommandNames, Content, Disclose, Figures, Keys, Log, Matching, Metrics, Open, OpenProgram, Own,
        PersonalData, Programs, Publish, RegistryLog, RotateKey, Summary, Tokens,
    };
    vec![
        ("/openapi.json", vec![get(Open, openapi::openapi)]),
        ("/docs", vec![get(Open, docs::page)]),
        ("/docs/{file}", vec![get(Open, docs::file)]),
        ("/problems", vec![get(Open, catalogue::problems)]),
        ("/problems/{code}", vec![get(Open, catalogue::problem)]),
        ("/healthz", vec![get(Open, healthz)]),
        ("/readyz", vec![get(Open, readyz)]),
        ("/metrics", vec![get(Metrics, metrics)]),
        ("/v1/tokens", vec![get(Tokens, tokens::list), post(Tokens, tokens::issue)]),
        ("/v1/tokens/{token}", vec![delete(Tokens, tokens::revoke)]),
        (PROGRAMS, vec![get(Programs, reads::programs), post(OpenProgram, commands::open)]),
        ("/v1/programs/{program}", vec![get(Summary, reads::program)]),
        (COMMANDS, vec![get(CommandNames, commands::names), post(Command, commands::batch)]),
        (COMMAND, vec![post(Command, commands::one)]),
        ("/v1/programs/{program}/participants", vec![get(Content, reads::participants)]),
        ("/v1/programs/{program}/participants.csv", vec![get(Content, tables::participants)]),
        ("/v1/programs/{program}/pairs.csv", vec![get(Own, tables::pairs)]),
        ("/v1/programs/{program}/sessions.csv", vec![get(Own, tables::sessions)]),
        ("/v1/programs/{program}/participants/{id}", vec![get(Own, reads::participant)]),
        ("/v1/programs/{program}/participants/{id}/personal", vec![get(PersonalData, personal::personal)]),
        ("/v1/programs/{program}/participants/{id}/subject-access", vec![get(PersonalData, personal::subject_access)]),
        ("/v1/programs/{program}/pairs/{id}/sealed", vec![get(PersonalData, personal::pair)]),
        ("/v1/programs/{program}/sessions/{id}/sealed", vec![get(PersonalData, personal::session)]),
        ("/v1/programs/{program}/openings", vec![post(Disclose, personal::openings)]),
        ("/v1/people/same", vec![post(Disclose, personal::same)]),
        ("/v1/programs/{program}/pairs", vec![get(Own, reads::pairs)]),
        ("/v1/programs/{program}/pairs/{id}", vec![get(Own, reads::pair)]),
        ("/v1/programs/{program}/sessions/{id}", vec![get(Own, reads::session)]),
        ("/v1/programs/{program}/reciprocity", vec![get(Content, measures::reciprocity)]),
        ("/v1/programs/{program}/retention", vec![get(Content, measures::retention)]),
        ("/v1/programs/{program}/health", vec![get(Content, measures::health)]),
        ("/v1/programs/{program}/suggestions", vec![get(Matching, pairing::suggestions)]),
        ("/v1/programs/{program}/rounds", vec![get(Matching, pairing::rounds)]),
        ("/v1/programs/{program}/published-figures", vec![get(Figures, outsiders::published_figures)]),
        ("/v1/programs/{program}/reports", vec![get(Figures, reports::list), post(Publish, reports::publish)]),
        ("/v1/reports/{digest}", vec![get(Figures, reports::report)]),
        ("/v1/programs/{program}/events", vec![get(Content, reads::events)]),
        ("/v1/programs/{program}/events/stream", vec![get(Content, stream::stream)]),
        ("/v1/programs/{program}/read-models", vec![get(Content, reads::read_models)]),
        ("/v1/programs/{program}/proofs/inclusion", vec![get(Log, proofs::inclusion)]),
        ("/v1/programs/{program}/proofs/consistency", vec![get(Log, proofs::consistency)]),
        ("/v1/programs/{program}/rotate-key", vec![post(RotateKey, proofs::rotate)]),
        ("/v1/registry/proofs/inclusion", vec![get(RegistryLog, proofs::registry_inclusion)]),
        ("/v1/registry/proofs/consistency", vec![get(RegistryLog, proofs::registry_consistency)]),
        ("/v1/registry/rotate-key", vec![post(RotateKey, proofs::rotate_registry)]),
        ("/v1/keys", vec![get(Keys, proofs::keys)]),
        ("/log/{program}/checkpoint", vec![get(Log, proofs::checkpoint)]),
        ("/log/{program}/reports/{digest}", vec![get(Figures, reports::beside_the_log)]),
        ("/log/{program}/tile/{*tile}", vec![get(Log, proofs::tile)]),
    ]
}

/// A way in, as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The method; `HEAD` goes with `GET`.
    pub method: Method,
    /// The path, its parameters in braces.
    pub path: &'static str,
    /// What it needs.
    pub needs: Permission,
}

/// Every way in there is, in the order of the table.
pub fn declared() -> impl Iterator<Item = Declared> {
    table().into_iter().flat_map(|(path, ways)| {
        ways.into_iter().map(move |Way { method, needs, .. }| Declared { method, path, needs })
    })
}

/// Every route of the service, each behind its guard.
pub(super) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for (path, ways) in table() {
        let mut methods = Vec::new();
        let mut route = MethodRouter::new();
        for Way { method, needs, handler } in ways {
            let asked = guard::Asked::new(&app, path, needs);
            route = route.merge(handler.route_layer(middleware::from_fn_with_state(asked, guard::guard)));
            let head = (method == Method::GET).then_some(Method::HEAD);
            methods.push(method);
            methods.extend(head);
        }
        router = router
            .route(path, route.fallback(move |method: Method| async move { wrong_method(&method, methods) }));
    }
    router
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(app.clone(), edge::limit))
        .layer(middleware::from_fn_with_state(app.clone(), guard::identify))
        .layer(middleware::from_fn_with_state(app.clone(), edge::observe))
        .with_state(app)
}

/// The path does not take this method: a problem that names the right ones.
fn wrong_method(method: &Method, methods: Vec<Method>) -> Problem {
    let names = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    Problem::new(Code::MethodNotAllowed, format_args!("{method} is not for this path: use {names}"))
        .allowing(methods)
}

async fn nothing_here(request: Request) -> Problem {
    Problem::new(Code::NoSuchPath, format_args!("there is nothing at {}", request.uri().path()))
}
