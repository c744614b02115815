//! Weights that workers offer and send: read, checked and handed to whoever keeps them.

use std::sync::Arc;
use std::time::Duration;

use common::telemetry::chain;
use common::wire::{self, WeightsAnswer, weights_part};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::convert;
use crate::query::Fate;
use crate::weights::{Arrival, Weights, WeightsError};

/// A sender that says nothing for this long is gone.
const PART_WAIT: Duration = Duration::from_secs(60);

/// Whether what is offered is to be sent.
pub(super) async fn offered(
    weights: &Weights,
    store: &str,
    offer: wire::OfferWeightsRequest,
) -> Result<WeightsAnswer, Status> {
    check_store(store, &offer)?;
    Ok(match weights.fate(convert::weights_offer(offer)?).await.map_err(status)? {
        Fate::Wanted(_) => WeightsAnswer::Wanted,
        Fate::Unwanted => WeightsAnswer::NotWanted,
        Fate::Open => WeightsAnswer::Unknown,
    })
}

/// Takes what was offered; false where it is not wanted any more.
pub(super) async fn sent(
    weights: &Arc<Weights>,
    store: &str,
    mut parts: Streaming<wire::WeightsPart>,
) -> Result<bool, Status> {
    let Some(weights_part::Part::Offer(offer)) = next(&mut parts).await? else {
        return Err(Status::invalid_argument("the first message does not say whose weights come"));
    };
    check_store(store, &offer)?;
    let offer = convert::weights_offer(offer)?;
    let result = match weights.fate(offer).await.map_err(status)? {
        Fate::Wanted(result) => result,
        Fate::Unwanted => return Ok(false),
        Fate::Open => return Err(Status::aborted("the attempt has no stored outcome")),
    };
    let arrival = weights.begin(offer, result).await;
    take(&arrival, &mut parts).await?;
    arrival.finish().await.map_err(status)?;
    tracing::debug!(attempt = %offer.attempt, bytes = offer.bytes, "weights are kept");
    Ok(true)
}

/// Until the end, or until nothing more is taken.
async fn take(arrival: &Arrival, parts: &mut Streaming<wire::WeightsPart>) -> Result<(), Status> {
    loop {
        match next(parts).await? {
            None => return Ok(()),
            Some(weights_part::Part::Chunk(chunk)) => {
                if !arrival.write(chunk).await {
                    return Ok(());
                }
            }
            Some(weights_part::Part::Offer(_)) => {
                return Err(Status::invalid_argument("a second offer among the bytes"));
            }
        }
    }
}

async fn next(
    parts: &mut Streaming<wire::WeightsPart>,
) -> Result<Option<weights_part::Part>, Status> {
    let part = timeout(PART_WAIT, parts.message()).await;
    let part = part.map_err(|_| Status::deadline_exceeded("no more of the weights came"))??;
    match part {
        None => Ok(None),
        Some(part) => part.part.map(Some).ok_or(Status::invalid_argument("a part without content")),
    }
}

fn check_store(own: &str, offer: &wire::OfferWeightsRequest) -> Result<(), Status> {
    if offer.store == own {
        return Ok(());
    }
    Err(Status::failed_precondition("these weights are of another store"))
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn status(error: WeightsError) -> Status {
    let text = chain(&error);
    match error {
        WeightsError::Content { .. } => Status::invalid_argument(text),
        WeightsError::Short { .. } => Status::aborted(text),
        WeightsError::Query(_) | WeightsError::File { .. } | WeightsError::Panicked => {
            tracing::error!("weights are not kept, the worker offers them again: {text}");
            Status::unavailable(text)
        }
    }
}
