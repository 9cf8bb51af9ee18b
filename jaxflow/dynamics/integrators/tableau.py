"""The implicit Runge-Kutta method: its coefficients, its predictor and its dense output."""

import numpy as np

# ESDIRK5(4)7L[2]SA2: seven stages, the first explicit, of order 5 with an embedded method of order
# 4; L-stable, stiffly accurate, of stage order 2. (At infinity the embedded one keeps a quarter.)
# Source: Kennedy and Carpenter, NASA/TM-2016-219173 (2016), section 7.
GAMMA = 23 / 125
C = np.array(
    [
        0,
        46 / 125,
        7121331996143 / 11335814405378,
        49 / 353,
        3706679970760 / 5295570149437,
        347 / 382,
        1,
    ]
)
_B = [
    -188593204321 / 4778616380481,
    2809310203510 / 10304234040467,
    1021729336898 / 2364210264653,
    870612361811 / 2470410392208,
    -1307970675534 / 8059683598661,
    GAMMA,
]
_EMBEDDED = [
    -582099335757 / 7214068459310,
    615023338567 / 3362626566945,
    3192122436311 / 6174152374399,
    6156034052041 / 14430468657929,
    -1011318518279 / 9693750372484,
    1914490192573 / 13754262428401,
]
_ROWS = [
    [],
    [GAMMA],
    [791020047304 / 3561426431547, GAMMA],
    [-158159076358 / 11257294102345, -85517644447 / 5003708988389, GAMMA],
    [
        -1653327111580 / 4048416487981,
        1514767744496 / 9099671765375,
        14283835447591 / 12247432691556,
        GAMMA,
    ],
    [
        -4540011970825 / 8418487046959,
        -1790937573418 / 7393406387169,
        10819093665085 / 7266595846747,
        4109463131231 / 7386972500302,
        GAMMA,
    ],
    _B,
]
STAGES = len(C)


def _completed(row: list[float], total: float) -> np.ndarray:
    """The row with the coefficient of the first stage that gives it its sum."""
    return np.array([total - sum(row), *row, *[0.0] * (STAGES - 1 - len(row))])


A = np.array([_completed(row, float(c)) for row, c in zip(_ROWS, C, strict=True)])
LOWER = A - np.diag(np.diag(A))  # what is known of a stage leaves out its own share
B = A[-1]
B_ERROR = B - _completed(_EMBEDDED, 1.0)  # times the stages: the estimate of the error


def _predictor() -> np.ndarray:
    """What to expect of a stage: the polynomial through those before it."""
    out = np.zeros((STAGES, STAGES))
    for i in range(1, STAGES):
        for j in range(i):
            others = np.delete(C[:i], j)
            out[i, j] = np.prod((C[i] - others) / (C[j] - others))
    return out


PREDICTOR = _predictor()


def _dense() -> np.ndarray:
    """`beta` (5, stages): `y(t0 + theta h) = y0 + h sum_i sum_p beta[p - 1, i] theta^p k_i`.

    All conditions up to order 4 hold at every theta, those of order 5 in the least-squares sense,
    and theta = 1 is the end of the step.
    """
    one, A2 = np.ones(STAGES), A @ C**2
    fourth = [(1, one, 1), (2, C, 1 / 2), (3, C**2, 1 / 3), (4, C**3, 1 / 4), (4, A2, 1 / 12)]
    fifth = [(5, C**4, 1 / 5), (5, C * A2, 1 / 15), (5, A @ C**3, 1 / 20), (5, A @ A2, 1 / 60)]

    def conditions(given: list) -> tuple[np.ndarray, np.ndarray]:
        rows, values = [], []
        for order, weights, value in given:
            for power in range(1, 6):
                row = np.zeros((5, STAGES))
                row[power - 1] = weights
                rows.append(row.ravel())
                values.append(value if power == order else 0.0)
        return np.array(rows), np.array(values)

    exact, right = conditions(fourth)
    exact = np.concatenate([exact, np.tile(np.eye(STAGES), 5)])
    right = np.concatenate([right, B])
    wished, goal = conditions(fifth)
    # Exactly what must hold, then, among what is left free, the best of what is wished for.
    start = np.linalg.lstsq(exact, right, rcond=None)[0]
    _, s, Vt = np.linalg.svd(exact)
    free = Vt[np.sum(s > 1e-10 * s[0]) :].T
    step = np.linalg.lstsq(wished @ free, goal - wished @ start, rcond=None)[0]
    return (start + free @ step).reshape(5, STAGES)


DENSE = _dense()
