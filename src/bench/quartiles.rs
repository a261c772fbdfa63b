use serde::Serialize;

/// The quartiles of some figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quartiles {
    /// The first quartile.
    pub low: f64,
    /// The second.
    pub median: f64,
    /// The third.
    pub high: f64,
}

impl Quartiles {
    /// `None` without figures. Interpolates between neighbours.
    pub fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        (!sorted.is_empty()).then(|| Self { low: at(0.25), median: at(0.5), high: at(0.75) })
    }

    /// Half the interquartile range as a share of the median: the noise.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.high - self.low) / 2.0 / self.median }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_cut_the_sorted_figures_in_quarters() {
        let cases: &[(&[f64], [f64; 3])] = &[
            (&[7.0], [7.0, 7.0, 7.0]),
            (&[2.0, 1.0], [1.25, 1.5, 1.75]),
            (&[5.0, 1.0, 3.0, 2.0, 4.0], [2.0, 3.0, 4.0]),
            (&[1.0, 1.0, 1.0, 100.0], [1.0, 1.0, 25.75]),
        ];
        for (figures, [low, median, high]) in cases {
            assert_eq!(
                Quartiles::of(figures),
                Some(Quartiles { low: *low, median: *median, high: *high }),
                "{figures:?}"
            );
        }
        assert_eq!(Quartiles::of(&[]), None);
    }

    #[test]
    fn the_spread_is_relative_to_the_median() {
        assert_eq!(Quartiles { low: 90.0, median: 100.0, high: 114.0 }.spread(), 0.12);
        assert_eq!(Quartiles { low: 0.0, median: 0.0, high: 0.0 }.spread(), 0.0);
    }
}
