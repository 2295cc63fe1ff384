//! Statistics of a series: is it level, does it rise, could this run have told.

/// The quantile of the normal distribution that leaves 2.5 % above.
const Z95: f64 = 1.959_963_984_540_054;
/// Points of which all pairs are looked at; longer series are thinned to medians of so many groups.
const MOST_POINTS: usize = 1200;

/// A slope with its confidence interval of 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slope {
    pub(crate) slope: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The median of all slopes between two points, and the interval of Sen (1968), ties considered, for
/// points that are independent of each other. None with fewer than three points.
pub(crate) fn theil_sen(points: &[(f64, f64)]) -> Option<Slope> {
    sen(points, |_, _| 1.0)
}

/// The same for points each of which resembles the one before. The interval is that of as few
/// independent points as they are worth: the variance of Kendall's S times the factor of Yue and Wang
/// (2004, Water Resources Management 18, 201-218), from the autocorrelation of lag 1 of what is left
/// beside the slope.
pub(crate) fn theil_sen_of_dependent(points: &[(f64, f64)]) -> Option<Slope> {
    sen(points, |points, slope| {
        let rest: Vec<f64> = points.iter().map(|(x, y)| y - slope * x).collect();
        inflation(autocorrelation(&rest), rest.len())
    })
}

/// Theil's and Sen's slope; `factor` is that of the variance, from the points and their slope.
fn sen(points: &[(f64, f64)], factor: impl Fn(&[(f64, f64)], f64) -> f64) -> Option<Slope> {
    let points = thin(points);
    let n = points.len();
    if n < 3 {
        return None;
    }
    let mut slopes = Vec::with_capacity(n * (n - 1) / 2);
    for (at, (x, y)) in points.iter().enumerate() {
        for (later, value) in points.iter().skip(at + 1) {
            if later > x {
                slopes.push((value - y) / (later - x));
            }
        }
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let values: Vec<f64> = points.iter().map(|point| point.1).collect();
    let middle = median(&slopes)?;
    let spread = Z95 * (variance_of_s(&values) * factor(&points, middle)).sqrt();
    let pairs = number(slopes.len());
    let at = |place: f64| {
        let place = place.clamp(0.0, (pairs - 1.0).max(0.0));
        slopes.get(index(place)).copied()
    };
    Some(Slope {
        slope: middle,
        low: at(((pairs - spread) / 2.0).round() - 1.0)?,
        high: at(((pairs + spread) / 2.0).round())?,
    })
}

/// How likely a series without a trend falls as much as this one: the one-sided p of Mann and
/// Kendall, ties considered. 1 with fewer than three values.
pub(crate) fn p_of_fall(values: &[f64]) -> f64 {
    let mut s = 0_i64;
    for (at, first) in values.iter().enumerate() {
        for later in values.iter().skip(at + 1) {
            s += match later.total_cmp(first) {
                core::cmp::Ordering::Less => -1,
                core::cmp::Ordering::Equal => 0,
                core::cmp::Ordering::Greater => 1,
            };
        }
    }
    let variance = variance_of_s(values);
    if values.len() < 3 || variance <= 0.0 {
        return 1.0;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "some thousand values have some million pairs"
    )]
    let z = (s - s.signum()) as f64 / variance.sqrt();
    normal_below(z)
}

/// Standard deviation over mean, as a part of 1. None without a mean.
pub(crate) fn variation(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>();
    let deviation = (squares / (number(values.len()) - 1.0).max(1.0)).sqrt();
    (mean > 0.0).then(|| deviation / mean)
}

/// The mean; none of nothing.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / number(values.len()))
}

/// The median of values in order.
pub(crate) fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*sorted.get(middle - 1)?, upper))
}

/// How alike neighbours are, from 0 to 1. The estimate of a few values is too low, by (2 + 4 r) / n where
/// a slope was taken out; that is given back (van Giersbergen 2005, Statistics & Probability Letters).
fn autocorrelation(values: &[f64]) -> f64 {
    let n = number(values.len());
    let (Some(mean), true) = (mean(values), values.len() > 4) else {
        return 1.0;
    };
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if squares <= 0.0 {
        return 0.0;
    }
    let neighbours = values.iter().zip(values.iter().skip(1));
    let products: f64 = neighbours.map(|(a, b)| (a - mean) * (b - mean)).sum();
    n.mul_add(products / squares, 2.0) / (n - 4.0)
}

/// By how much the variance of S grows where neighbours are alike by `r`, and values `k` apart by `r^k`.
fn inflation(r: f64, n: usize) -> f64 {
    let r = r.clamp(0.0, 1.0);
    let terms = (1..n).scan(1.0, |power, k| {
        *power *= r;
        Some((1.0 - number(k) / number(n)) * *power)
    });
    2.0f64.mul_add(terms.sum::<f64>(), 1.0)
}

/// Variance of Kendall's S without a trend.
fn variance_of_s(values: &[f64]) -> f64 {
    let term = |n: usize| {
        let n = number(n);
        n * (n - 1.0) * 2.0f64.mul_add(n, 5.0)
    };
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let ties: f64 = sorted
        .chunk_by(|a, b| a.total_cmp(b).is_eq())
        .map(|tied| term(tied.len()))
        .sum();
    (term(values.len()) - ties) / 18.0
}

/// Medians of blocks of a series, each of so much of its axis from the first point on. A block with less
/// than half of the points of the fullest is left out.
pub(crate) fn block_medians(points: &[(f64, f64)], width: f64) -> Vec<(f64, f64)> {
    let Some(start) = points.first().map(|point| point.0) else {
        return Vec::new();
    };
    let block = |point: &(f64, f64)| ((point.0 - start) / width).floor();
    let blocks = points.chunk_by(|one, next| block(one).total_cmp(&block(next)).is_eq());
    let most = blocks.clone().map(<[_]>::len).max().unwrap_or(0);
    blocks
        .filter(|block| block.len() * 2 >= most)
        .map(middle_of)
        .collect()
}

/// Medians of groups, of equal size, of a series that is too long.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let size = points.len().div_ceil(MOST_POINTS);
    points.chunks(size).map(middle_of).collect()
}

/// The medians of both coordinates.
fn middle_of(group: &[(f64, f64)]) -> (f64, f64) {
    let middle = |pick: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = group.iter().map(pick).collect();
        values.sort_unstable_by(f64::total_cmp);
        median(&values).unwrap_or(0.0)
    };
    (middle(|point| point.0), middle(|point| point.1))
}

/// The part of the normal distribution below `z`: Abramowitz and Stegun 26.2.17, to 7.5e-8.
fn normal_below(z: f64) -> f64 {
    const B: [f64; 5] = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let t = 1.0 / 0.231_641_9f64.mul_add(z.abs(), 1.0);
    let polynomial = B.iter().rev().fold(0.0, |sum, b| (sum + b) * t);
    let density = (-z * z / 2.0).exp() / (2.0 * core::f64::consts::PI).sqrt();
    let above = density * polynomial;
    if z < 0.0 { above } else { 1.0 - above }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of points are far below 2^52"
)]
const fn number(count: usize) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the caller has brought it between 0 and a length"
)]
const fn index(place: f64) -> usize {
    place as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<(f64, f64)> {
        let xs = (0..values.len()).map(number);
        xs.zip(values.iter().copied()).collect()
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6 * b.abs().max(1.0), "{a} is not {b}");
    }

    /// A series with ties and an outlier. The figures are those of a Python program that computes
    /// every pair with fractions, and Sen's ranks as `scipy.stats.theilslopes` does.
    const SERIES: [f64; 12] = [
        10.0, 11.0, 11.0, 13.0, 12.0, 15.0, 14.0, 14.0, 16.0, 40.0, 17.0, 18.0,
    ];

    #[test]
    fn the_slope_is_the_median_of_all_pairs_and_an_outlier_does_not_move_it() {
        let slope = theil_sen(&points(&SERIES)).unwrap();
        near(slope.slope, SLOPE.0);
        near(slope.low, SLOPE.1);
        near(slope.high, SLOPE.2);
        assert_eq!(theil_sen(&points(&[1.0, 2.0])), None);
    }

    #[test]
    fn what_is_level_has_no_slope_and_no_spread() {
        let slope = theil_sen(&points(&[7.0; 100])).unwrap();
        assert_eq!((slope.slope, slope.low, slope.high), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_long_series_is_thinned_and_keeps_its_slope() {
        let long: Vec<f64> = (0..7200)
            .map(|x| f64::from(x) * 0.25 + f64::from(x % 7))
            .collect();
        let slope = theil_sen(&points(&long)).unwrap();
        near((slope.slope * 1000.0).round() / 1000.0, 0.25);
        assert!(slope.low <= 0.25 && slope.high >= 0.25, "{slope:?}");
    }

    #[test]
    fn blocks_have_their_medians_and_a_rest_is_no_block() {
        let values: Vec<f64> = (0..25).map(f64::from).collect();
        let expected = [(4.5, 4.5), (14.5, 14.5), (22.0, 22.0)];
        assert_eq!(block_medians(&points(&values), 10.0), expected);
        assert_eq!(block_medians(&points(&values[..24]), 10.0), expected[..2]);
        // A gap is none of a block either.
        let mut gapped = points(&values);
        gapped.drain(8..12);
        assert_eq!(
            block_medians(&gapped, 10.0),
            [(3.5, 3.5), (15.5, 15.5), (22.0, 22.0)]
        );
        assert_eq!(block_medians(&[], 10.0), []);
    }

    /// A walk has no slope of its own. What takes its steps for chance finds one all the same.
    #[test]
    fn a_walk_is_not_taken_for_a_slope() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut naive, mut honest) = (0, 0);
        for _ in 0..200 {
            let mut level = 0.0;
            let walk: Vec<f64> = (0..60)
                .map(|_| {
                    level = 0.9f64.mul_add(level, rng.f64() - 0.5);
                    level
                })
                .collect();
            let excludes = |slope: Slope| usize::from(slope.low > 0.0 || slope.high < 0.0);
            naive += excludes(theil_sen(&points(&walk)).unwrap());
            honest += excludes(theil_sen_of_dependent(&points(&walk)).unwrap());
        }
        assert!(naive > 60, "{naive} of 200");
        assert!(honest < 20, "{honest} of 200");
    }

    #[test]
    fn what_is_independent_keeps_its_interval() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut wider = 0.0;
        for _ in 0..50 {
            let noise: Vec<f64> = (0..60).map(|_| rng.f64()).collect();
            let width = |slope: Slope| slope.high - slope.low;
            wider += width(theil_sen_of_dependent(&points(&noise)).unwrap())
                / width(theil_sen(&points(&noise)).unwrap());
        }
        assert!(wider / 50.0 < 1.3, "{}", wider / 50.0);
        near(inflation(0.0, 60), 1.0);
        // (1 + r) / (1 - r) for many.
        assert!((inflation(0.5, 100_000) - 3.0).abs() < 1e-3);
    }

    /// Mann-Kendall of the series turned round, by the same program: S, variance and normal
    /// distribution by `math.erfc`.
    #[test]
    fn a_fall_is_told_from_chance() {
        let mut falling = SERIES;
        falling.reverse();
        near(p_of_fall(&falling), P_FALLING);
        near(p_of_fall(&SERIES), P_RISING);
        near(p_of_fall(&[5.0; 20]), 1.0);
        near(normal_below(-1.959_963_985), 0.025);
        near(normal_below(0.0), 0.5);
    }

    #[test]
    fn variation_is_deviation_over_mean() {
        // Mean 5, sample variance 32/7.
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        near(variation(&values).unwrap(), (32.0_f64 / 7.0).sqrt() / 5.0);
        assert_eq!(variation(&[]), None);
    }

    const SLOPE: (f64, f64, f64) = (0.75, 0.5714285714285714, 1.0);
    const P_FALLING: f64 = 0.000130328;
    const P_RISING: f64 = 0.999869672;
}
