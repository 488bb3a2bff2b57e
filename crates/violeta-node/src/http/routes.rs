//! The one table of routes: the router, the OpenAPI document and the page of documentation are all made from it, so
//! that none can say what another doesn't.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Schema};
use utoipa::{PartialSchema, ToSchema};
use violeta_types::Genesis;
use violeta_types::api::{self, BINARY, ErrorBody, ErrorCode, VALIDATOR_HEADER};

use super::answer::{self, Cut};
use super::error::ApiError;
use super::{App, Peer, chain, events, many, pages, read, submit};

/// A parameter in the query.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
}

/// What a route answers when all goes well.
pub(crate) enum Answer {
    /// JSON of this type.
    Json(JsonOf),
    /// A proof, by its name: there is no answer that isn't one.
    Proof(&'static str),
    /// A text of this media type.
    Text(&'static str),
}

/// A type of answer, as a value.
pub(crate) struct JsonOf {
    name: fn() -> Cow<'static, str>,
    schema: fn() -> RefOr<Schema>,
    parts: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl JsonOf {
    const fn of<T: ToSchema + PartialSchema>() -> Self {
        JsonOf {
            name: T::name,
            schema: T::schema,
            parts: T::schemas,
        }
    }

    /// For a type without a name of its own, as a list.
    const fn named(self, name: fn() -> Cow<'static, str>) -> Self {
        JsonOf { name, ..self }
    }

    pub(crate) fn name(&self) -> Cow<'static, str> {
        (self.name)()
    }
}

/// A route.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) what: &'static str,
    pub(crate) query: &'static [Parameter],
    /// What the body is, where there is one: binary, always.
    pub(crate) body: Option<&'static str>,
    pub(crate) answer: Answer,
    /// What `proof=true` answers instead.
    pub(crate) proof: Option<&'static str>,
    /// Whether it answers in borsh when `Accept` asks for it.
    pub(crate) binary: bool,
    pub(crate) errors: &'static [ErrorCode],
    handler: fn() -> MethodRouter<App>,
}

/// A route that is as most are.
const PLAIN: Route = Route {
    method: "GET",
    path: "",
    what: "",
    query: &[],
    body: None,
    answer: Answer::Text("text/html"),
    proof: None,
    binary: false,
    errors: &[],
    handler: || get(pages::index),
};

const AT: Parameter = Parameter {
    name: "at",
    what: "latest-certified (the default) or a certified height",
};
const AFTER: Parameter = Parameter {
    name: "after",
    what: "the key after which the part begins: the last one of the part before",
};
const LIMIT: Parameter = Parameter {
    name: "limit",
    what: "entries of the page, 1 to 1000; 100 if not given",
};
const PROOF: Parameter = Parameter {
    name: "proof",
    what: "true: the answer is a proof",
};

const VOUCH: Parameter = Parameter {
    name: "vouch",
    what: "of a proof: any word for its head (the default), or seal: for who knows only the group's key. Where no seal \
           vouches for a height yet, it isn't proved",
};

use ErrorCode::*;
const READ: &[ErrorCode] = &[
    InvalidRequest,
    NotYetCertified,
    NotRetained,
    Unavailable,
    Overloaded,
];
const SUBMIT: &[ErrorCode] = &[
    InvalidRequest,
    InvalidTransaction,
    TooSlow,
    NotAdmitted,
    TooLarge,
    UnsupportedMediaType,
    Overloaded,
    OnlyFollows,
    NotIndexed,
];

/// Every route.
pub(crate) const ROUTES: &[Route] = &[
    Route {
        method: "POST",
        path: "/v1/transactions",
        what: "Submits a transaction. 200 once it has got as far as wait asks, 202 if it is on its way. \
               Submitting the same bytes again is no error.",
        query: &[
            Parameter {
                name: "wait",
                what: "none (the default), executed or certified",
            },
            Parameter {
                name: "timeout_ms",
                what: "how long to wait at most: 10000 if not given, at most 60000",
            },
        ],
        body: Some("An encoded transaction (borsh)"),
        answer: Answer::Json(JsonOf::of::<api::TransactionAnswer>()),
        errors: SUBMIT,
        handler: || post(submit::one),
        ..PLAIN
    },
    Route {
        method: "POST",
        path: "/v1/batch",
        what: "Submits many transactions. Verdicts come in the batch's order, as JSON or as borsh.",
        body: Some("count: u32 LE, then for each transaction its length: u32 LE and its bytes"),
        answer: Answer::Json(
            JsonOf::of::<Vec<api::BatchVerdict>>().named(|| "BatchVerdicts".into()),
        ),
        binary: true,
        errors: SUBMIT,
        handler: || post(submit::batch),
        ..PLAIN
    },
    Route {
        path: "/v1/transactions/{id}",
        what: "What became of a transaction.",
        query: &[PROOF, VOUCH],
        answer: Answer::Json(JsonOf::of::<api::TransactionAnswer>()),
        proof: Some("OutcomeProof"),
        binary: true,
        errors: &[
            InvalidRequest,
            NotFound,
            NotYetCertified,
            NotIndexed,
            Overloaded,
        ],
        handler: || get(submit::status),
        ..PLAIN
    },
    Route {
        path: "/v1/namespaces/{namespace}",
        what: "A namespace: owner, grants, number of keys.",
        query: &[AT],
        answer: Answer::Json(JsonOf::of::<api::NamespaceAnswer>()),
        errors: &[
            InvalidRequest,
            NotFound,
            NotYetCertified,
            NotRetained,
            Unavailable,
        ],
        handler: || get(read::namespace),
        ..PLAIN
    },
    Route {
        path: "/v1/namespaces/{namespace}/keys",
        what: "A page of a namespace's keys, in the store's order.",
        query: &[AT, AFTER, LIMIT],
        answer: Answer::Json(JsonOf::of::<api::KeysAnswer>()),
        errors: &[
            InvalidRequest,
            NotFound,
            NotYetCertified,
            NotRetained,
            Unavailable,
        ],
        handler: || get(read::keys),
        ..PLAIN
    },
    Route {
        path: "/v1/namespaces/{namespace}/keys/{key}",
        what: "A key's value, or that it has none; with proof=true, what convinces of it. Names and keys are \
               percent-encoded text, or hex: and hexadecimal digits.",
        query: &[
            AT,
            Parameter {
                name: "consistency",
                what: "certified (the default), or linearizable: a barrier is ordered first",
            },
            PROOF,
            VOUCH,
        ],
        answer: Answer::Json(JsonOf::of::<api::KeyAnswer>()),
        proof: Some("KeyProof"),
        binary: true,
        errors: &[
            InvalidRequest,
            NeedsClient,
            NotYetCertified,
            NotRetained,
            Unavailable,
        ],
        handler: || get(read::key),
        ..PLAIN
    },
    Route {
        path: "/v1/namespaces/{namespace}/keys/{key}/history",
        what: "A key's versions, newest first.",
        query: &[AT, LIMIT],
        answer: Answer::Json(JsonOf::of::<api::HistoryAnswer>()),
        errors: READ,
        handler: || get(read::history),
        ..PLAIN
    },
    Route {
        path: "/v1/namespaces/{namespace}/entries",
        what: "A part of all that a namespace has, keys with values, proved: nothing is left out, nor made up. As many \
               as limit says, or as an answer of some 4 MiB holds; whoever goes on with after, at the same height, \
               until a proof says that nothing is left, has all of it.",
        query: &[AT, AFTER, LIMIT, VOUCH],
        answer: Answer::Proof("EntriesProof"),
        binary: true,
        errors: READ,
        handler: || get(many::entries),
        ..PLAIN
    },
    Route {
        path: "/v1/namespaces/{namespace}/changes",
        what: "A part of all that differs in a namespace between two heights, keys with both values, proved, as \
               entries are. It costs what has changed, however much there is besides.",
        query: &[
            Parameter {
                name: "from",
                what: "the older height",
            },
            Parameter {
                name: "to",
                what: "the newer height; latest-certified if not given",
            },
            AFTER,
            LIMIT,
            VOUCH,
        ],
        answer: Answer::Proof("ChangesProof"),
        binary: true,
        errors: READ,
        handler: || get(many::changes),
        ..PLAIN
    },
    Route {
        method: "POST",
        path: "/v1/namespaces/{namespace}/values",
        what: "The values of many keys, or that they have none, in one proof. It is about the first of them, one at \
               least, if an answer of some 4 MiB doesn't hold all: ask for the others next. Nothing is changed.",
        query: &[AT, VOUCH],
        body: Some("1 to 1000 keys: count: u32 LE, then for each its length: u32 LE and its bytes"),
        answer: Answer::Proof("ValuesProof"),
        binary: true,
        errors: &[
            InvalidRequest,
            TooLarge,
            TooSlow,
            UnsupportedMediaType,
            NotYetCertified,
            NotRetained,
            Unavailable,
            Overloaded,
        ],
        handler: || post(many::values),
        ..PLAIN
    },
    Route {
        path: "/v1/accounts/{client}",
        what: "A client's account: its key, and which nonce comes next as far as this node knows.",
        answer: Answer::Json(JsonOf::of::<api::AccountAnswer>()),
        errors: &[InvalidRequest, Unavailable],
        handler: || get(read::account),
        ..PLAIN
    },
    Route {
        path: "/v1/head",
        what: "The newest certified head; with vouch=seal, the newest sealed one.",
        query: &[PROOF, VOUCH],
        answer: Answer::Json(JsonOf::of::<api::HeadAnswer>()),
        proof: Some("HeadProof"),
        binary: true,
        errors: &[InvalidRequest, NotYetCertified],
        handler: || get(chain::newest_head),
        ..PLAIN
    },
    Route {
        path: "/v1/heads/{height}",
        what: "A head, with certificate and seal as far as there are; with proof=true, with the word of a newer head if \
               it has none of its own.",
        query: &[PROOF, VOUCH],
        answer: Answer::Json(JsonOf::of::<api::HeadAnswer>()),
        proof: Some("HeadProof"),
        binary: true,
        errors: &[InvalidRequest, NotFound, NotYetCertified],
        handler: || get(chain::head),
        ..PLAIN
    },
    Route {
        path: "/v1/blocks",
        what: "Blocks by rising height; the newest if from isn't given.",
        query: &[
            Parameter {
                name: "from",
                what: "the first height",
            },
            LIMIT,
        ],
        answer: Answer::Json(JsonOf::of::<api::BlocksAnswer>()),
        errors: &[InvalidRequest, NotFound],
        handler: || get(chain::blocks),
        ..PLAIN
    },
    Route {
        path: "/v1/blocks/{height}",
        what: "A block's head and a page of what became of its transactions.",
        query: &[
            Parameter {
                name: "from",
                what: "the first transaction's index",
            },
            LIMIT,
        ],
        answer: Answer::Json(JsonOf::of::<api::BlockAnswer>()),
        errors: &[InvalidRequest, NotFound],
        handler: || get(chain::block),
        ..PLAIN
    },
    Route {
        path: "/v1/committee",
        what: "The committee and its arithmetic.",
        answer: Answer::Json(JsonOf::of::<api::CommitteeAnswer>()),
        handler: || get(chain::committee),
        ..PLAIN
    },
    Route {
        path: "/v1/genesis",
        what: "The genesis; its digest names the chain.",
        answer: Answer::Json(JsonOf::of::<Genesis>()),
        handler: || get(chain::genesis),
        ..PLAIN
    },
    Route {
        path: "/v1/events",
        what: "Events as they happen (server-sent): block, certified, sealed, evidence; or those of one transaction. \
               Resumes exactly after the last id seen.",
        query: &[
            Parameter {
                name: "cursor",
                what: "resume after this event; Last-Event-ID does the same",
            },
            Parameter {
                name: "transaction",
                what: "only what happens to this one, then the end",
            },
        ],
        answer: Answer::Text("text/event-stream"),
        errors: &[InvalidRequest, Overloaded],
        handler: || get(events::events),
        ..PLAIN
    },
    Route {
        path: "/v1/status",
        what: "What this node is doing.",
        answer: Answer::Json(JsonOf::of::<api::StatusAnswer>()),
        handler: || get(chain::status),
        ..PLAIN
    },
    Route {
        path: HEALTH,
        what: "200 if this node can take transactions and answer reads; 503 with reasons if not.",
        answer: Answer::Json(JsonOf::of::<api::HealthAnswer>()),
        handler: || get(chain::health),
        ..PLAIN
    },
    Route {
        path: METRICS,
        what: "Metrics for Prometheus.",
        answer: Answer::Text("application/openmetrics-text"),
        handler: || get(chain::metrics),
        ..PLAIN
    },
    Route {
        path: "/openapi.json",
        what: "This interface as an OpenAPI document.",
        answer: Answer::Text("application/json"),
        handler: || get(pages::openapi),
        ..PLAIN
    },
    Route {
        path: "/docs",
        what: "This interface as a page for people.",
        handler: || get(pages::docs),
        ..PLAIN
    },
    Route {
        path: "/",
        what: "This node at a glance.",
        handler: || get(pages::index),
        ..PLAIN
    },
];

/// Always answered: who watches a node must see it when it is full.
const HEALTH: &str = "/v1/health";
const METRICS: &str = "/metrics";

/// The router.
pub(crate) fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, (route.handler)());
    }
    router
        .fallback(|uri: Uri| async move { ApiError::no_such_route(uri.path()) })
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), around))
        .with_state(app)
}

async fn wrong_method(path: Option<MatchedPath>) -> ApiError {
    let matched = path.as_ref().map(MatchedPath::as_str);
    let method = ROUTES
        .iter()
        .find(|route| Some(route.path) == matched)
        .map_or("GET", |route| route.method);
    ApiError::new(
        MethodNotAllowed,
        "this route has another method",
        format!("use {method}"),
    )
    .allowing(method)
}

/// What is done around every request: room for it, counting, headers.
async fn around(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Extension(cut): Extension<Cut>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let always = route == HEALTH || route == METRICS;
    let room = (!always).then_some(&app.answers);
    let mut response = match app.requests.enter(peer.0) {
        Err(full) if !always => app.requests.refusal(full).into_response(),
        entered => {
            let response = next.run(request).await;
            answer::counted(room, peer, &cut, entered.ok(), response)
        }
    };
    let headers = response.headers_mut();
    if let Some(index) = app.source.validator() {
        headers.insert(
            HeaderName::from_static(VALIDATOR_HEADER),
            HeaderValue::from(index.0),
        );
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    );
    app.metrics
        .answered(&route, response.status().as_u16(), begun.elapsed());
    response
}

/// The OpenAPI document.
pub(crate) fn openapi() -> OpenApi {
    let mut paths = PathsBuilder::new();
    let mut components = ComponentsBuilder::new();
    let mut parts = Vec::new();
    let error = JsonOf::of::<ErrorBody>();
    let answers = ROUTES.iter().filter_map(|route| match &route.answer {
        Answer::Json(json) => Some(json),
        Answer::Proof(_) | Answer::Text(_) => None,
    });
    for json in answers.chain([&error]) {
        parts.push((json.name().into_owned(), (json.schema)()));
        (json.parts)(&mut parts);
    }
    for (name, schema) in parts {
        components = components.schema(name, schema);
    }
    for route in ROUTES {
        paths = paths.path(route.path, path_item(route));
    }
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Violeta")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "A replicated database that can prove what it tells you. Whatever matters, ask with proof=true and \
                     check the proof against the committee's public keys.",
                )),
        )
        .paths(paths)
        .components(Some(components.build()))
        .build()
}

fn path_item(route: &Route) -> PathItem {
    let mut operation = OperationBuilder::new()
        .summary(Some(route.what))
        .operation_id(Some(operation_id(route)));
    for name in path_parameters(route.path) {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
        );
    }
    for Parameter { name, what } in route.query {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(*name)
                .parameter_in(ParameterIn::Query)
                .description(Some(*what))
                .schema(Some(ObjectBuilder::new().schema_type(Type::String))),
        );
    }
    if let Some(what) = route.body {
        let content = ContentBuilder::new().schema(Some(binary())).build();
        let body = RequestBodyBuilder::new()
            .description(Some(what))
            .content(BINARY, content)
            .required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    operation = operation.response("200", answer_of(route).build());
    let statuses: BTreeSet<u16> = route.errors.iter().map(|code| code.status()).collect();
    for status in statuses {
        let response = ResponseBuilder::new()
            .description(error_names(route, status))
            .content("application/json", json_content("ErrorBody"));
        operation = operation.response(status.to_string(), response.build());
    }
    let method = match route.method {
        "POST" => HttpMethod::Post,
        _ => HttpMethod::Get,
    };
    PathItem::new(method, operation)
}

fn answer_of(route: &Route) -> ResponseBuilder {
    let response = ResponseBuilder::new().description(route.what);
    let response = match &route.answer {
        Answer::Text(media_type) => response.content(
            *media_type,
            ContentBuilder::new()
                .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
                .build(),
        ),
        Answer::Proof(name) => {
            let proof = ObjectBuilder::new().title(Some(*name));
            let content = ContentBuilder::new().schema(Some(proof));
            response.content("application/json", content.build())
        }
        Answer::Json(json) => match route.proof {
            None => response.content("application/json", json_content(&json.name())),
            Some(proof) => {
                let either = OneOfBuilder::new()
                    .item(Ref::from_schema_name(json.name()))
                    .item(ObjectBuilder::new().title(Some(proof)));
                let content = ContentBuilder::new().schema(Some(Schema::OneOf(either.build())));
                response.content("application/json", content.build())
            }
        },
    };
    match route.binary {
        true => {
            let content = ContentBuilder::new().schema(Some(binary())).build();
            response.content(BINARY, content)
        }
        false => response,
    }
}

fn json_content(name: &str) -> utoipa::openapi::Content {
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(name)))
        .build()
}

fn binary() -> Schema {
    use utoipa::openapi::{KnownFormat, SchemaFormat};
    let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(format))
        .into()
}

fn error_names(route: &Route, status: u16) -> String {
    let names = route.errors.iter().filter(|code| code.status() == status);
    names
        .filter_map(|code| serde_json::to_value(code).ok())
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect::<Vec<_>>()
        .join(", ")
}

fn operation_id(route: &Route) -> String {
    let words = route
        .path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty() && *word != "v1");
    let name = words.collect::<Vec<_>>().join("_");
    let name = if name.is_empty() { "index" } else { &name };
    format!("{}_{name}", route.method.to_ascii_lowercase())
}

/// The names in braces.
pub(crate) fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}
