//! `/livez`, `/readyz` and `/metrics`.

use std::fmt::Write;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::{Context, Failure};

/// Binds the address, so that a port that is taken is said before anything else is done.
///
/// # Errors
/// The address cannot be bound.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::failed(format!(
            "cannot listen on {address} for /readyz and /metrics: {error}; choose another address or port with --admin"
        ))
    })
}

/// Serves until the context is stopped.
pub async fn serve(listener: TcpListener, context: Context) {
    let stop = context.stop.clone();
    let routes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(context);
    let served = axum::serve(listener, routes).with_graceful_shutdown(async move { stop.stopped().await }).await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin endpoint ended");
    }
}

async fn readyz(State(context): State<Context>) -> impl IntoResponse {
    if context.stop.is_stopped() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    if context.health.is_ready() {
        let notes = context.health.notes();
        let lines = std::iter::once("ok").chain(notes.iter().map(String::as_str));
        return (StatusCode::OK, lines.map(|line| format!("{line}\n")).collect());
    }
    let reasons = context.health.reasons();
    if reasons.is_empty() {
        return (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
    }
    let text = reasons.iter().fold(String::new(), |mut text, (condition, reason)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{condition}: {reason}");
        text
    });
    (StatusCode::SERVICE_UNAVAILABLE, text)
}

async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], context.metrics.encode())
}
