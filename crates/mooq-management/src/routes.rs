//! A handler for each path and method.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::middleware::map_request;
use axum::routing::{delete, get, post};
use mooq_memory::InMemoryBroker;

use crate::access::Api;
use crate::body::LIMIT;
use crate::failure::Failure;
use crate::handlers::{
    bindings, connections, consumers, definitions, exchanges, health, overview, permissions,
    policies, queues, users, vhosts,
};
use crate::versions::Rules;

/// The routes of a broker's API.
pub(crate) fn of(broker: &InMemoryBroker) -> Router {
    let api = Api::of(broker);
    let routes = Router::new()
        .merge(broker_routes(&api))
        .merge(administration_routes())
        .merge(topology_routes())
        .merge(client_routes())
        .merge(health_routes(&api));
    let routes = Router::new()
        .nest("/api", routes)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(LIMIT))
        .with_state(api);
    // Outside of the routes, since it changes the path that leads to one.
    Router::new()
        .fallback_service(routes)
        .layer(map_request(without_last_slash))
}

fn broker_routes(api: &Api) -> Router<Api> {
    let routes = Router::new()
        .route("/overview", get(overview::overview))
        .route("/cluster-name", get(overview::cluster_name))
        .route("/nodes", get(overview::nodes))
        .route("/nodes/{node}", get(overview::node))
        .route("/extensions", get(overview::extensions))
        .route("/whoami", get(overview::whoami))
        .route("/parameters", get(policies::parameters))
        .route("/parameters/{component}", get(policies::parameters_of))
        .route("/global-parameters", get(policies::global_parameters))
        .route(
            "/definitions",
            get(definitions::export).post(definitions::import),
        )
        .route(
            "/definitions/{vhost}",
            get(definitions::export_vhost).post(definitions::import_vhost),
        );
    if api.profile.has_version_path() {
        routes.route("/version", get(overview::version))
    } else {
        routes
    }
}

fn administration_routes() -> Router<Api> {
    Router::new()
        .route("/vhosts", get(vhosts::list))
        .route(
            "/vhosts/{vhost}",
            get(vhosts::show).put(vhosts::put).delete(vhosts::delete),
        )
        .route("/vhosts/{vhost}/permissions", get(permissions::of_vhost))
        .route(
            "/vhosts/{vhost}/topic-permissions",
            get(permissions::topics_of_vhost),
        )
        .route("/vhosts/{vhost}/connections", get(connections::of_vhost))
        .route(
            "/vhosts/{vhost}/channels",
            get(connections::channels_of_vhost),
        )
        .route("/users", get(users::list))
        .route(
            "/users/without-permissions",
            get(users::without_permissions),
        )
        .route("/users/bulk-delete", post(users::delete_several))
        .route(
            "/users/{user}",
            get(users::show).put(users::put).delete(users::delete),
        )
        .route("/users/{user}/permissions", get(permissions::of_user))
        .route(
            "/users/{user}/topic-permissions",
            get(permissions::topics_of_user),
        )
        .route("/permissions", get(permissions::list))
        .route(
            "/permissions/{vhost}/{user}",
            get(permissions::show)
                .put(permissions::put)
                .delete(permissions::delete),
        )
        .route("/topic-permissions", get(permissions::topics))
        .route(
            "/topic-permissions/{vhost}/{user}",
            get(permissions::show_topics)
                .put(permissions::put_topic)
                .delete(permissions::delete_topics),
        )
        .route("/policies", get(policies::list))
        .route("/policies/{vhost}", get(policies::of_vhost))
        .route(
            "/policies/{vhost}/{name}",
            get(policies::show)
                .put(policies::put)
                .delete(policies::delete),
        )
        .route("/operator-policies", get(policies::list_operators))
        .route(
            "/operator-policies/{vhost}",
            get(policies::operators_of_vhost),
        )
        .route(
            "/operator-policies/{vhost}/{name}",
            get(policies::show_operators)
                .put(policies::put_operators)
                .delete(policies::delete_operators),
        )
}

fn topology_routes() -> Router<Api> {
    Router::new()
        .route("/exchanges", get(exchanges::list))
        .route("/exchanges/{vhost}", get(exchanges::of_vhost))
        .route(
            "/exchanges/{vhost}/{name}",
            get(exchanges::show)
                .put(exchanges::declare)
                .delete(exchanges::delete),
        )
        .route(
            "/exchanges/{vhost}/{name}/bindings/source",
            get(bindings::from_exchange),
        )
        .route(
            "/exchanges/{vhost}/{name}/bindings/destination",
            get(bindings::to_exchange),
        )
        .route(
            "/exchanges/{vhost}/{name}/publish",
            post(exchanges::publish),
        )
        .route("/queues", get(queues::list))
        .route("/queues/{vhost}", get(queues::of_vhost))
        .route(
            "/queues/{vhost}/{name}",
            get(queues::show)
                .put(queues::declare)
                .delete(queues::delete),
        )
        .route("/queues/{vhost}/{name}/bindings", get(bindings::to_queue))
        .route("/queues/{vhost}/{name}/contents", delete(queues::purge))
        .route("/queues/{vhost}/{name}/get", post(queues::fetch))
        .route("/bindings", get(bindings::list))
        .route("/bindings/{vhost}", get(bindings::of_vhost))
        .route(
            "/bindings/{vhost}/e/{source}/{kind}/{destination}",
            get(bindings::between).post(bindings::bind),
        )
        .route(
            "/bindings/{vhost}/e/{source}/{kind}/{destination}/{properties}",
            get(bindings::show).delete(bindings::unbind),
        )
}

fn client_routes() -> Router<Api> {
    Router::new()
        .route("/connections", get(connections::list))
        .route(
            "/connections/{name}",
            get(connections::show).delete(connections::close),
        )
        .route(
            "/connections/{name}/channels",
            get(connections::channels_of),
        )
        .route(
            "/connections/username/{user}",
            get(connections::of_user).delete(connections::close_of_user),
        )
        .route("/channels", get(connections::channels))
        .route("/channels/{name}", get(connections::channel))
        .route("/consumers", get(consumers::list))
        .route("/consumers/{vhost}", get(consumers::of_vhost))
}

fn health_routes(api: &Api) -> Router<Api> {
    let mut routes = Router::new()
        .route("/aliveness-test/{vhost}", get(health::aliveness))
        .route("/healthchecks/node", get(health::node))
        .route("/health/checks/alarms", get(health::alarms))
        .route("/health/checks/local-alarms", get(health::local_alarms))
        .route("/health/checks/virtual-hosts", get(health::passed))
        .route(
            "/health/checks/node-is-quorum-critical",
            get(health::single_node),
        )
        .route("/health/checks/port-listener/{port}", get(health::port))
        .route(
            "/health/checks/protocol-listener/{protocols}",
            get(health::protocols),
        );
    if api.profile.checks_mirrors() {
        let path = "/health/checks/node-is-mirror-sync-critical";
        routes = routes.route(path, get(health::single_node));
    }
    if api.profile.checks_readiness() {
        for check in [
            "is-in-service",
            "ready-to-serve-clients",
            "metadata-store/initialized",
        ] {
            let path = format!("/health/checks/{check}");
            routes = routes.route(&path, get(health::passed));
        }
    }
    routes
}

async fn not_found() -> Failure {
    Failure::not_found()
}

/// Drops a slash at the end of a path, as RabbitMQ does.
async fn without_last_slash(mut request: Request) -> Request {
    let uri = request.uri();
    let path = uri.path();
    let shorter = path.strip_suffix('/').filter(|path| !path.is_empty());
    let Some(shorter) = shorter else {
        return request;
    };
    let text = match uri.query() {
        Some(query) => format!("{shorter}?{query}"),
        None => shorter.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(text).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}
