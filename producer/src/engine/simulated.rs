//! An engine within this process, for measuring: the producer beside it is a real one.

use bollard::models::{ContainerInspectResponse, ContainerSummary, EventMessage};
use domain::ContainerId;
use domain::node::Engine;
use futures::stream::BoxStream;

/// Answers as an engine's API does, at once and always. What it answers is Docker's own.
pub trait Simulated: Send + Sync {
    /// Who it is. The identity never changes.
    fn engine(&self) -> Engine;

    /// Every container there is.
    fn list(&self) -> Vec<ContainerSummary>;

    /// One container; `None` where it has no such one.
    fn inspect(&self, id: &ContainerId) -> Option<ContainerInspectResponse>;

    /// What happens from now on. Ends with the engine alone; it remembers nothing of the past.
    fn events(&self) -> BoxStream<'static, EventMessage>;
}
