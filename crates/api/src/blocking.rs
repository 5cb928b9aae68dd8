//! Store calls block; they run on threads that may.

use store::Store;

use crate::error::ApiError;
use crate::state::ApiState;

impl ApiState {
    /// Does something with the store on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Store) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let state = self.clone();
        self.blocking(move || work(state.store())).await
    }

    /// Does anything on a thread that may block. A panic there is an answer, not the end of the connection.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(ApiError::internal(error)),
        }
    }
}
