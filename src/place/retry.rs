//! Trying again: with waits that grow and are spread at random, or as long as the server asks.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::fault::Fault;
use crate::error::Result;
use crate::resources::Cancel;

/// How often an operation is tried, and how long to wait between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, at least 1.
    pub tries: u32,
    /// Longest wait before the second try; it doubles with each further one.
    pub first_wait: Duration,
    /// Longest wait of all; a server that asks for more is waited for so long.
    pub longest_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 8,
            first_wait: Duration::from_millis(200),
            longest_wait: Duration::from_secs(60),
        }
    }
}

impl RetryPolicy {
    /// Returns how long to wait after the failed try number `failed` (from 1).
    ///
    /// "Full jitter": any time up to a bound that doubles, so that many clients that failed
    /// together do not come back together. What a server asks for is the least.
    pub(super) fn wait(&self, failed: u32, asked: Option<Duration>) -> Duration {
        let doubled = 2_u32.saturating_pow(failed.saturating_sub(1));
        let bound = self.first_wait.saturating_mul(doubled);
        let bound = bound.min(self.longest_wait);
        let spread = bound.mul_f64(fastrand::f64());
        match asked {
            // Everybody was told the same time.
            Some(asked) => asked.min(self.longest_wait) + spread.min(self.first_wait),
            None => spread,
        }
    }

    /// Tries until it works, the fault is lasting, there were enough tries, or somebody asks for
    /// an end.
    ///
    /// # Errors
    /// That of the last try.
    pub(super) async fn run<'a, T>(
        &self,
        cancel: &Cancel,
        mut work: impl FnMut(u32) -> BoxFuture<'a, Result<T, Fault>> + Send,
    ) -> Result<T> {
        let mut number = 0;
        loop {
            cancel.check()?;
            number += 1;
            let (error, asked) = match work(number).await {
                Ok(done) => return Ok(done),
                Err(Fault::Lasting(error)) => return Err(error),
                Err(Fault::Passing { error, wait }) => (error, wait),
            };
            if number >= self.tries {
                let tries = format!(" (tried {number} times)");
                return Err(if number > 1 {
                    error.add_message(&tries)
                } else {
                    error
                });
            }
            let wait = self.wait(number, asked);
            tracing::debug!("{error}; trying again in {} ms", wait.as_millis());
            // Short naps, so that an end that was asked for is not waited for.
            let mut left = wait;
            while !left.is_zero() {
                let nap = left.min(Duration::from_millis(100));
                tokio::time::sleep(nap).await;
                cancel.check()?;
                left -= nap;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn waits_grow_are_spread_and_end() {
        let policy = RetryPolicy::default();
        for failed in 1..40 {
            let wait = policy.wait(failed, None);
            assert!(wait <= policy.longest_wait);
            assert!(failed > 1 || wait <= policy.first_wait);
        }
        let waits: Vec<_> = (0..50).map(|_| policy.wait(6, None)).collect();
        assert!(waits.iter().any(|wait| wait != &waits[0]));
        let asked = policy.wait(1, Some(Duration::from_secs(3)));
        assert!(asked >= Duration::from_secs(3) && asked < Duration::from_secs(4));
        assert!(policy.wait(1, Some(Duration::from_secs(9999))) < Duration::from_secs(61));
    }

    #[test]
    fn tries_end() {
        let policy = RetryPolicy {
            tries: 3,
            first_wait: Duration::from_millis(1),
            ..RetryPolicy::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let fault = || Error::new(ErrorKind::Network, "no answer");
        let mut tries = 0;
        let nobody = Cancel::default();
        let passing = policy.run::<()>(&nobody, |number| {
            tries = number;
            Box::pin(async move {
                Err(Fault::Passing {
                    error: fault(),
                    wait: None,
                })
            })
        });
        let error = runtime.block_on(passing).unwrap_err();
        assert!(error.to_string().contains("tried 3 times"), "{error}");
        assert_eq!(tries, 3);
        let lasting = policy.run::<()>(&nobody, |number| {
            assert_eq!(number, 1);
            Box::pin(async move { Err(Fault::Lasting(fault())) })
        });
        runtime.block_on(lasting).unwrap_err();
        let cancel = Cancel::default();
        cancel.cancel(2);
        let ended = policy.run::<()>(&cancel, |_| Box::pin(async move { Ok(()) }));
        assert_eq!(
            runtime.block_on(ended).unwrap_err().kind(),
            ErrorKind::Interrupted(2)
        );
    }
}
