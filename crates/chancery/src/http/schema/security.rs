//! Security events.

use utoipa::ToSchema;

/// A page of security events.
#[derive(Debug, ToSchema)]
pub struct SecurityEventList {
    /// The events, the newest first.
    pub items: Vec<SecurityEvent>,
    /// `after` of the next page, where there is one.
    #[schema(required = false)]
    pub next: Option<String>,
}

/// Refusals that were alike within a minute.
#[derive(Debug, ToSchema)]
pub struct SecurityEvent {
    /// `credential`, `tenant`, `role`, `signature`, or `dropped`: there were too many to tell apart.
    pub kind: String,
    /// The code of the problem that the caller was answered.
    pub code: String,
    /// Method and template of the route.
    pub route: String,
    /// Who called, where the credential is, or was, a good one.
    #[schema(required = false)]
    pub principal: Option<String>,
    /// The API key, where its secret was right.
    #[schema(required = false)]
    pub key_id: Option<String>,
    /// From where, where that is recorded.
    #[schema(required = false)]
    pub address: Option<String>,
    /// The first of them.
    pub first_at: String,
    /// The last of them.
    pub last_at: String,
    /// How many.
    pub count: u64,
}
