//! Length-delimited protobuf out of a byte stream that comes in any pieces.

use common::wire::{FromTrainer, MESSAGE_BYTES_MAX};
use prost::Message;

/// Longest message: a report is passed on in one to the coordinator, which needs room around it.
pub const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;

/// Bytes that are no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length in front is not one.
    #[error("a message's length cannot be read")]
    Length(#[source] prost::DecodeError),
    /// The length is beyond any message.
    #[error("a message of {bytes} bytes, at most {FRAME_BYTES_MAX} are accepted")]
    TooLong {
        /// Length that was announced.
        bytes: usize,
    },
    /// The bytes are not a message of this kind.
    #[error("a message cannot be read")]
    Decode(#[source] prost::DecodeError),
}

/// Longest varint of a length.
const LENGTH_BYTES_MAX: usize = 10;

/// Takes the first whole message out of the buffer; none until all of it is there.
pub fn take(buffer: &mut Vec<u8>) -> Result<Option<FromTrainer>, FrameError> {
    let length_end = buffer.iter().take(LENGTH_BYTES_MAX).position(|byte| byte & 0x80 == 0);
    let Some(length_end) = length_end else {
        if buffer.len() < LENGTH_BYTES_MAX {
            return Ok(None);
        }
        let bytes = usize::MAX;
        return Err(FrameError::TooLong { bytes });
    };
    let start = length_end + 1;
    let bytes = prost::decode_length_delimiter(&buffer[..start]).map_err(FrameError::Length)?;
    if bytes > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { bytes });
    }
    let Some(payload) = buffer.get(start..start + bytes) else {
        return Ok(None);
    };
    let message = FromTrainer::decode(payload).map_err(FrameError::Decode)?;
    buffer.drain(..start + bytes);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use common::wire::{CohortFinished, from_trainer};
    use proptest::prelude::*;

    use super::*;

    fn finished(cohort: u64) -> FromTrainer {
        let message = Some(from_trainer::Message::Finished(CohortFinished { cohort }));
        FromTrainer { message }
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_whatever_the_pieces(
            cohorts in prop::collection::vec(any::<u64>(), 0..20),
            piece in 1usize..7,
        ) {
            let mut bytes = Vec::new();
            for cohort in &cohorts {
                bytes.extend(finished(*cohort).encode_length_delimited_to_vec());
            }
            let (mut buffer, mut taken) = (Vec::new(), Vec::new());
            for piece in bytes.chunks(piece) {
                buffer.extend_from_slice(piece);
                while let Some(message) = take(&mut buffer).expect("well-formed") {
                    taken.push(message);
                }
            }
            prop_assert_eq!(taken, cohorts.into_iter().map(finished).collect::<Vec<_>>());
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn garbage_is_an_error_or_waits_for_more(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut buffer = bytes;
            let mut before = buffer.len() + 1;
            while buffer.len() < before {
                before = buffer.len();
                if !matches!(take(&mut buffer), Ok(Some(_))) {
                    break;
                }
            }
        }
    }

    #[test]
    fn an_overlong_message_is_refused_before_it_is_buffered() {
        let mut buffer = vec![0xff, 0xff, 0xff, 0x7f];
        assert!(matches!(take(&mut buffer), Err(FrameError::TooLong { .. })));
        let mut buffer = vec![0xff; 11];
        assert!(matches!(take(&mut buffer), Err(FrameError::TooLong { .. })));
    }
}
