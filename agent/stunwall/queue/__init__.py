"""The way of a queued packet in and out: NFQUEUE, the refusal sent to a blocked program, the heartbeat probe."""
