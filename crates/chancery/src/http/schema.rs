//! The shapes of requests and answers, for the OpenAPI document. Nothing is ever made of these types: what is sent is
//! made by the use cases, and a test compares the two.

mod decisions;
mod events;
mod explaining;
mod lineage;
mod origins;
mod overrides;
mod policies;
mod records;
mod security;

pub use decisions::*;
pub use events::*;
pub use explaining::*;
pub use lineage::*;
pub use origins::*;
pub use overrides::*;
pub use policies::*;
pub use records::*;
pub use security::*;
