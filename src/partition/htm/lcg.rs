//! Numbers for tests that look random and are the same each time.

/// A linear congruential generator with Knuth's constants.
pub(crate) struct Lcg(u64);

impl Lcg {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        let state = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = state.wrapping_add(1_442_695_040_888_963_407);
        // The low bits have short periods.
        self.0 ^ (self.0 >> 32)
    }

    pub(crate) fn below(&mut self, end: u32) -> u32 {
        let (end, bits) = (u64::from(end), self.next() >> 33);
        u32::try_from(bits % end).unwrap()
    }

    pub(crate) fn within(&mut self, low: f64, high: f64) -> f64 {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        low + share * (high - low)
    }

    /// A point that is as likely in any place of the sphere.
    pub(crate) fn position_deg(&mut self) -> (f64, f64) {
        let sine = self.within(-1.0, 1.0);
        (self.within(0.0, 360.0), sine.asin().to_degrees())
    }
}
