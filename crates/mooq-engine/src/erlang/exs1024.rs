//! Erlang's generator `exs1024`, which is xorshift1024* by Sebastiano Vigna
//! ([its documentation](https://www.erlang.org/doc/apps/stdlib/rand.html#t:builtin_alg/0)).

/// Number of words in the generator's state.
const WORDS: usize = 16;

#[derive(Debug, Clone)]
pub(crate) struct Exs1024 {
    words: [u64; WORDS],
    /// Index at which the next step begins.
    at: usize,
}

impl Exs1024 {
    /// Creates the generator that `rand:seed_s(exs1024, {Seed, Seed, Seed})` gives.
    pub(crate) fn new(seed: i128) -> Self {
        const MASK_21: u64 = (1 << 21) - 1;
        // For a negative number, the low bits of its two's complement count.
        let seed = (seed & i128::from(MASK_21)) as u64;
        let part = |prime: u64| ((seed + 1) * prime) & MASK_21;
        let mut state = (part(2_097_131) << 43) | (part(2_097_133) << 22) | (part(2_097_143) << 1);
        state |= 1;
        let mut words = [0; WORDS];
        // The first word generated is the last one used.
        for word in words.iter_mut().rev() {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            *word = state.wrapping_mul(2_685_821_657_736_338_717);
        }
        Self { words, at: 0 }
    }

    /// Returns the next number of `rand:uniform_s/1`: at least 0.0 and less than 1.0.
    pub(crate) fn uniform(&mut self) -> f64 {
        const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
        let next = (self.at + 1) % WORDS;
        let (mut first, mut second) = (self.word(self.at), self.word(next));
        second ^= second << 31;
        second ^= second >> 11;
        first ^= first >> 30;
        let sum = first ^ second;
        if let Some(word) = self.words.get_mut(next) {
            *word = sum;
        }
        self.at = next;
        sum.wrapping_mul(1_181_783_497_276_652_981) as f64 / TWO_TO_64
    }

    fn word(&self, at: usize) -> u64 {
        self.words.get(at).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from Erlang/OTP 27.
    #[test]
    #[expect(clippy::float_cmp, reason = "they are the very same numbers")]
    fn numbers_are_those_of_erlang() {
        for (seed, first, second) in [
            (0, 0.294_232_217_744_804_2, 0.989_309_343_681_186_5),
            (5, 0.352_440_983_626_264_2, 0.670_908_919_654_443_3),
            (-5, 0.446_414_605_190_663_4, 0.043_174_191_074_100_52),
            (
                134_217_727,
                0.403_937_041_687_543_9,
                0.496_948_452_807_902_84,
            ),
        ] {
            let mut random = Exs1024::new(seed);
            assert_eq!(random.uniform(), first, "first of {seed}");
            assert_eq!(random.uniform(), second, "second of {seed}");
        }
    }
}
