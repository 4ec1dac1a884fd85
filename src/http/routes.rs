//! Every route of the service, with what it needs: the one table.
//! Never adds a route that does not say what it needs: a way in is a method, a permission and a handler, or it is not.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{self, MethodRouter};

use super::problem::{Code, Problem};
use super::{
    App, COMMAND, COMMANDS, PROGRAMS, bundle, catalogue, commands, docs, edge, guard, healthz, login,
    measures, metrics, openapi, outsiders, pages, pairing, personal, proofs, reads, readyz, reports, stream,
    tables, tokens,
};
use crate::access::permission::Permission;

/// One method of a path.
struct Way {
    method: Method,
    needs: Permission,
    kind: Kind,
    handler: MethodRouter<Arc<App>>,
}

/// What asks at a way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Programs: answers are data, and problems are problem documents.
    Api,
    /// Programs, and people whom a page has led there or whose page asks: a session is taken, too.
    Linked,
    /// What anybody reads about the service: a problem is a page for a browser that goes there.
    Read,
    /// People with a browser: answers are pages, and problems are pages, too.
    Page,
}

fn get<H: Handler<T, Arc<App>>, T: 'static>(needs: Permission, handler: H) -> Way {
    Way { method: Method::GET, needs, kind: Kind::Api, handler: routing::get(handler) }
}

fn post<H: Handler<T, Arc<App>>, T: 'static>(needs: Permission, handler: H) -> Way {
    Way { method: Method::POST, needs, kind: Kind::Api, handler: routing::post(handler) }
}

fn delete<H: Handler<T, Arc<App>>, T: 'static>(needs: Permission, handler: H) -> Way {
    Way { method: Method::DELETE, needs, kind: Kind::Api, handler: routing::delete(handler) }
}

fn linked<H: Handler<T, Arc<App>>, T: 'static>(needs: Permission, handler: H) -> Way {
    Way { kind: Kind::Linked, ..get(needs, handler) }
}

fn read<H: Handler<T, Arc<App>>, T: 'static>(handler: H) -> Way {
    Way { kind: Kind::Read, ..get(Permission::Open, handler) }
}

fn page<H: Handler<T, Arc<App>>, T: 'static>(needs: Permission, handler: H) -> Way {
    Way { kind: Kind::Page, ..get(needs, handler) }
}

fn form<H: Handler<T, Arc<App>>, T: 'static>(needs: Permission, handler: H) -> Way {
    Way { kind: Kind::Page, ..post(needs, handler) }
}

type Route = (&'static str, Vec<Way>);

/// The table: every path with its ways in.
#[rustfmt::skip]
fn table() -> Vec<Route> {
    use Permission::{
        Command, CommandNames, Content, Disclose, Entrance, Figures, Home, Keys, Log, Matching, Metrics, Open,
        OpenProgram, Own, PersonalData, Programs, Publish, RegistryLog, RotateKey, Summary, Tokens,
    };
    vec![
        ("/openapi.json", vec![get(Open, openapi::openapi)]),
        ("/docs", vec![read(docs::page)]),
        ("/docs/{file}", vec![read(docs::file)]),
        ("/problems", vec![read(catalogue::problems)]),
        ("/problems/{code}", vec![read(catalogue::problem)]),
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
        ("/v1/people/apart", vec![post(Disclose, personal::apart)]),
        ("/v1/programs/{program}/pairs", vec![get(Own, reads::pairs)]),
        ("/v1/programs/{program}/pairs/{id}", vec![get(Own, reads::pair)]),
        ("/v1/programs/{program}/sessions/{id}", vec![get(Own, reads::session)]),
        ("/v1/programs/{program}/reciprocity", vec![linked(Content, measures::reciprocity)]),
        ("/v1/programs/{program}/retention", vec![linked(Content, measures::retention)]),
        ("/v1/programs/{program}/health", vec![linked(Content, measures::health)]),
        ("/v1/programs/{program}/suggestions", vec![get(Matching, pairing::suggestions)]),
        ("/v1/programs/{program}/rounds", vec![linked(Matching, pairing::rounds)]),
        ("/v1/programs/{program}/published-figures", vec![get(Figures, outsiders::published_figures)]),
        ("/v1/programs/{program}/reports", vec![get(Figures, reports::list), post(Publish, reports::publish)]),
        ("/v1/reports/{digest}", vec![linked(Figures, reports::report)]),
        ("/v1/programs/{program}/events", vec![linked(Content, reads::events)]),
        ("/v1/programs/{program}/events/stream", vec![linked(Content, stream::stream)]),
        ("/v1/programs/{program}/read-models", vec![get(Content, reads::read_models)]),
        ("/v1/programs/{program}/proofs/inclusion", vec![linked(Log, proofs::inclusion)]),
        ("/v1/programs/{program}/proofs/consistency", vec![linked(Log, proofs::consistency)]),
        ("/v1/programs/{program}/bundle", vec![linked(Log, bundle::bundle)]),
        ("/v1/programs/{program}/rotate-key", vec![post(RotateKey, proofs::rotate)]),
        ("/v1/registry/proofs/inclusion", vec![get(RegistryLog, proofs::registry_inclusion)]),
        ("/v1/registry/proofs/consistency", vec![get(RegistryLog, proofs::registry_consistency)]),
        ("/v1/registry/rotate-key", vec![post(RotateKey, proofs::rotate_registry)]),
        ("/v1/keys", vec![linked(Keys, proofs::keys)]),
        ("/log/{program}/checkpoint", vec![linked(Log, proofs::checkpoint)]),
        ("/log/{program}/reports/{digest}", vec![get(Figures, reports::beside_the_log)]),
        ("/log/{program}/tile/{*tile}", vec![get(Log, proofs::tile)]),
        ("/", vec![page(Home, pages::programs)]),
        ("/definitions", vec![page(Open, pages::definitions)]),
        ("/login", vec![page(Open, login::form), form(Open, login::begin)]),
        ("/logout", vec![form(Open, login::end)]),
        ("/assets/{name}", vec![page(Open, pages::asset)]),
        ("/p/{program}", vec![page(Entrance, pages::overview)]),
        ("/p/{program}/reciprocity", vec![page(Content, pages::reciprocity)]),
        ("/p/{program}/retention", vec![page(Content, pages::retention)]),
        ("/p/{program}/pairs", vec![page(Content, pages::pairs)]),
        ("/p/{program}/pairs/{id}", vec![page(Own, pages::pair)]),
        ("/p/{program}/sessions", vec![page(Content, pages::sessions)]),
        ("/p/{program}/participants", vec![page(Content, pages::participants)]),
        ("/p/{program}/participants/{id}", vec![page(Own, pages::participant)]),
        ("/p/{program}/suggestions", vec![page(Matching, pages::suggestions)]),
        ("/p/{program}/history", vec![page(Content, pages::history)]),
        ("/p/{program}/audit", vec![page(Log, pages::audit)]),
        ("/p/{program}/published", vec![page(Figures, pages::published)]),
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
    /// What asks there.
    pub kind: Kind,
}

/// Every way in there is, in the order of the table.
pub fn declared() -> impl Iterator<Item = Declared> {
    table().into_iter().flat_map(|(path, ways)| {
        ways.into_iter().map(move |Way { method, needs, kind, .. }| Declared { method, path, needs, kind })
    })
}

/// Whether browsers look at this path, so that a session is taken there for a `GET`.
pub(super) fn is_for_browsers(path: &str) -> bool {
    static PATHS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
        let looked_at = declared()
            .filter(|way| way.method == Method::GET && matches!(way.kind, Kind::Page | Kind::Linked));
        looked_at.map(|way| way.path).collect()
    });
    PATHS.contains(path)
}

/// Every route of the service, each behind its guard.
pub(super) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for (path, ways) in table() {
        let mut methods = Vec::new();
        let mut route = MethodRouter::new();
        for Way { method, needs, kind, handler } in ways {
            let asked = guard::Asked::new(&app, path, needs);
            let mut guarded = handler.route_layer(middleware::from_fn_with_state(asked, guard::guard));
            guarded = match kind {
                Kind::Page => {
                    guarded.route_layer(middleware::from_fn_with_state(app.clone(), pages::dressed))
                }
                Kind::Read => guarded.route_layer(middleware::from_fn(pages::dressed_for_browsers)),
                Kind::Linked | Kind::Api => guarded,
            };
            route = route.merge(guarded);
            let head = (method == Method::GET).then_some(Method::HEAD);
            methods.push(method);
            methods.extend(head);
        }
        router = router
            .route(path, route.fallback(move |method: Method| async move { wrong_method(&method, methods) }));
    }
    router
        .fallback(nothing_here.layer(middleware::from_fn(pages::dressed_for_browsers)))
        .layer(middleware::from_fn_with_state(app.clone(), edge::limit))
        .layer(middleware::from_fn_with_state(app.clone(), guard::identify))
        .layer(middleware::from_fn_with_state(app.clone(), edge::observe))
        .with_state(app)
}

/// The path does not take this method: a problem that names the right ones.
fn wrong_method(method: &Method, methods: Vec<Method>) -> Problem {
    let names = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    // A method is any word of any length: what is no word of HTTP's is not repeated.
    let method = if method.as_str().len() <= 16 { method.as_str() } else { "the method" };
    Problem::new(Code::MethodNotAllowed, format_args!("{method} is not for this path: use {names}"))
        .allowing(methods)
}

async fn nothing_here(request: Request) -> Response {
    let path = request.uri().path();
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some(meant) = pages::meant(path).filter(|_| looks) {
        let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
        return Redirect::permanent(&format!("{meant}{query}")).into_response();
    }
    Problem::new(Code::NoSuchPath, format_args!("there is nothing at {path}")).into_response()
}
