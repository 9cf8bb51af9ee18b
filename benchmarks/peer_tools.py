"""The peers of `peers.py`: one function a tool, one signature, `solve(job) -> Run`.

Each integrates the flow of the full network as its users would write it,

    U' = G V,  V' = G^T U,  G = X^T (Y - X U V^T),

with its own step control at the same tolerances, on the same two cores.
"""

import functools
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from scipy.integrate import solve_ivp
from threadpoolctl import threadpool_limits

RTOL, ATOL = 1e-8, 1e-10  # entries are 1 / sqrt(h): atol stays at or below rtol times their size
BEYOND = 1.05  # an event that never fires ends its run at this multiple of the reference's time
CLOSE = 1.1  # without an event: reached, if the loss at the reference's time is this close
STEP = 4.5e-4  # of descent, in fastest time scales at the start: the paper's, appendix A.2
CORES = 2
SIDE_BY_SIDE = 3e6  # bytes of state in a batch of PyTorch, 4 to 64 seeds: it is slower beyond


class Tool(NamedTuple):
    """What to call, in each way worth a trial; what it needs; how it is used."""

    ways: dict[str, Callable[["Job"], "Run"]]
    modules: tuple[str, ...]
    note: str


class Job(NamedTuple):
    """Networks U (seeds, D, h), V (seeds, m, h), and per seed the reference's time and the goal."""

    X: np.ndarray
    Y: np.ndarray
    ts: np.ndarray
    U: np.ndarray
    V: np.ndarray
    t_end: np.ndarray
    goal: np.ndarray
    seconds: float = np.inf  # descent gives up after so many

    def some(self, which: slice) -> "Job":
        """The same with fewer seeds."""
        return self._replace(**{k: getattr(self, k)[which] for k in ("U", "V", "t_end", "goal")})


class Run(NamedTuple):
    """U (seeds, times, D, h), V (seeds, times, m, h) at `ts` and at the end; flags by seed."""

    U: np.ndarray
    V: np.ndarray
    reached: np.ndarray
    failed: np.ndarray
    capped: bool = False


def loss(X: np.ndarray, Y: np.ndarray, U: np.ndarray, V: np.ndarray) -> np.ndarray:
    """`1/2 ||Y - X U V^T||_F^2`, seed by seed."""
    return 0.5 * np.sum((Y - X @ (U @ np.swapaxes(V, -1, -2))) ** 2, axis=(-1, -2))


def diffrax_one(U: Any, V: Any, t_end: Any, goal: Any, ts: Any, X: Any, Y: Any) -> Any:
    """One trajectory in Diffrax: Tsit5, its default PI controller, an event at the goal."""

    def field(t: Any, y: Any, args: Any) -> Any:
        U, V = y
        G = X.T @ (Y - X @ (U @ V.T))
        return G @ V, G.T @ U

    def met(t: Any, y: Any, args: Any, **_: Any) -> Any:
        U, V = y
        return 0.5 * jnp.sum((Y - X @ (U @ V.T)) ** 2) <= goal

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Tsit5(),
        t0=0.0,
        t1=BEYOND * t_end,
        dt0=None,
        y0=(U, V),
        saveat=diffrax.SaveAt(ts=ts, t1=True),
        stepsize_controller=diffrax.PIDController(RTOL, ATOL),
        event=diffrax.Event(met),
        max_steps=100_000,
        throw=False,
    )
    stopped = solution.event_mask
    return *solution.ys, stopped, ~stopped & (solution.result != diffrax.RESULTS.successful)


def vmapped(*arrays: Any) -> Any:
    """Side by side: every trajectory waits for the slowest of its device."""
    *seeds, ts, X, Y = arrays
    return jax.vmap(lambda *one: diffrax_one(*one, ts, X, Y))(*seeds)


def mapped(*arrays: Any) -> Any:
    """One after another."""
    *seeds, ts, X, Y = arrays
    return jax.lax.map(lambda one: diffrax_one(*one, ts, X, Y), tuple(seeds))


@functools.cache
def _compiled(batch: Callable[..., Any]) -> Callable[..., Any]:
    mesh = jax.sharding.Mesh(jax.devices(), ("device",))
    split, whole = PartitionSpec("device"), PartitionSpec()
    specs = (split,) * 4 + (whole,) * 3
    spread = jax.shard_map(batch, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False)
    return jax.jit(spread)


def in_diffrax(batch: Callable[..., Any], job: Job) -> Run:
    """The seeds in equal parts on all devices: with two CPU devices, one a core."""
    arrays = job.U, job.V, job.t_end, job.goal, job.ts, job.X, job.Y
    return Run(*jax.device_get(_compiled(batch)(*arrays)))


@functools.cache
def pool() -> ProcessPoolExecutor:
    """A process a core, each with one thread, started and warm."""
    workers = ProcessPoolExecutor(CORES, get_context("spawn"), threadpool_limits, (1,))
    list(workers.map(time.sleep, [0.5] * CORES))
    return workers


def in_scipy(method: str, job: Job) -> Run:
    """`solve_ivp` with a terminal event, trajectories shared out over the processes."""
    one = functools.partial(scipy_one, method, job.X, job.Y, job.ts)
    results = pool().map(one, job.U, job.V, job.t_end, job.goal)
    return Run(*map(np.stack, zip(*results, strict=True)))


def scipy_one(
    method: str, X: Any, Y: Any, ts: Any, U: Any, V: Any, t_end: float, goal: float
) -> tuple[Any, ...]:
    """One trajectory in SciPy."""
    cut, shapes = U.size, (U.shape, V.shape)

    def parts(y: Any) -> Any:
        return y[:cut].reshape(shapes[0]), y[cut:].reshape(shapes[1])

    def field(t: float, y: Any) -> Any:
        U, V = parts(y)
        G = X.T @ (Y - X @ (U @ V.T))
        return np.concatenate([(G @ V).ravel(), (G.T @ U).ravel()])

    def above(t: float, y: Any) -> float:
        return loss(X, Y, *parts(y)) - goal

    above.terminal = True
    end = BEYOND * t_end
    # LSODA's own default allocates a dense Jacobian, 88 GB at h = 5000: a diagonal one serves.
    band = {"lband": 0, "uband": 0} if method == "LSODA" else {}
    start = np.concatenate([U.ravel(), V.ravel()])
    solution = solve_ivp(
        field,
        (0, end),
        start,
        method=method,
        t_eval=[*ts, end],
        events=above,
        rtol=RTOL,
        atol=ATOL,
        **band,
    )
    stopped, failed = solution.status == 1, solution.status < 0
    states = np.full((len(ts) + 1, start.size), np.nan)
    states[: len(solution.t)] = solution.y.T
    if stopped:
        states[-1] = solution.y_events[0][0]
    ends = [parts(state) for state in states]
    return *map(np.stack, zip(*ends, strict=True)), stopped, failed


def in_torch(solve: Callable[..., Run], threads: int, job: Job) -> Run:
    """A PyTorch solve, batch by batch: `solve(torch, X, Y, field, U, V, job) -> Run`."""
    import torch

    torch.set_num_threads(threads)
    X, Y = torch.tensor(job.X), torch.tensor(job.Y)

    def field(U: Any, V: Any) -> Any:
        G = X.T @ (Y - X @ (U @ V.mT))
        return G @ V, G.mT @ U

    size = int(np.clip(SIDE_BY_SIDE // (job.U[0].nbytes + job.V[0].nbytes), 4, 64))
    runs = []
    with torch.inference_mode():
        for start in range(0, len(job.U), size):
            part = job.some(slice(start, start + size))
            runs.append(solve(torch, field, torch.tensor(part.U), torch.tensor(part.V), part))
    *arrays, capped = zip(*runs, strict=True)
    return Run(*map(np.concatenate, arrays), any(capped))


def _at_reference(job: Job, U: Any, V: Any, failed: Any) -> Run:
    reached = loss(job.X, job.Y, U[:, -1], V[:, -1]) <= CLOSE * job.goal
    return Run(U, V, reached, failed)


def torchdiffeq_batch(torch: Any, field: Any, U: Any, V: Any, job: Job) -> Run:
    """`odeint` with dopri5 on a batch as one state, to its slowest seed's time."""
    import torchdiffeq

    ts = torch.tensor([0.0, *job.ts, job.t_end.max()], dtype=torch.float64)
    states = torchdiffeq.odeint(
        lambda t, y: field(*y), (U, V), ts, rtol=RTOL, atol=ATOL, method="dopri5"
    )
    U, V = (np.swapaxes(state[1:].numpy(), 0, 1) for state in states)
    return _at_reference(job, U, V, np.zeros(len(U), bool))


def torchode_batch(torch: Any, field: Any, U: Any, V: Any, job: Job) -> Run:
    """Tsit5 with a step size of each seed's own, to each seed's own time."""
    import torchode

    shapes = U.shape[1:], V.shape[1:]

    def parts(y: Any) -> Any:
        sizes = [rows * columns for rows, columns in shapes]
        return [W.unflatten(-1, s) for W, s in zip(y.split(sizes, dim=-1), shapes, strict=True)]

    def flat(U: Any, V: Any) -> Any:
        return torch.cat([U.flatten(-2), V.flatten(-2)], dim=-1)

    term = torchode.ODETerm(lambda t, y: flat(*field(*parts(y))))
    control = torchode.IntegralController(ATOL, RTOL, term=term)
    ts = np.concatenate([np.tile([0.0, *job.ts], (len(U), 1)), job.t_end[:, None]], axis=1)
    problem = torchode.InitialValueProblem(flat(U, V), t_eval=torch.tensor(ts))
    solution = torchode.AutoDiffAdjoint(torchode.Tsit5(term), control).solve(problem)
    U, V = (part[:, 1:].numpy() for part in parts(solution.ys))
    return _at_reference(job, U, V, solution.status.numpy() != torchode.Status.SUCCESS.value)


def descent_batch(torch: Any, field: Any, U: Any, V: Any, job: Job) -> Run:
    """Descent, the batch in one step: what the papers ran."""
    _, s, right = np.linalg.svd(job.X, full_matrices=False)
    sizes = (np.linalg.norm(W, 2, axis=(-2, -1)) ** 2 for W in (right @ job.U, job.V))
    step = STEP / (s[0] ** 2 * sum(sizes).max())
    slots = {round(t / step): i for i, t in enumerate(job.ts)}
    last = int(np.ceil(BEYOND * job.t_end.max() / step))
    states = [np.full((len(U), len(slots) + 1, *W.shape[1:]), np.nan) for W in (U, V)]

    def keep(slot: int) -> None:
        for kept, W in zip(states, (U, V), strict=True):
            kept[:, slot] = W.numpy()

    begin = time.perf_counter()
    for k in range(last + 1):
        if k in slots:
            keep(slots[k])
        if k % 100 == 0:
            reached = loss(job.X, job.Y, U.numpy(), V.numpy()) <= job.goal
            if reached.all() or time.perf_counter() - begin > job.seconds:
                break
        dU, dV = field(U, V)
        U.add_(dU, alpha=step)
        V.add_(dV, alpha=step)
    keep(-1)
    failed = ~np.isfinite(states[0][:, -1]).all((-1, -2))
    return Run(*states, reached, failed, capped=k < last and not reached.all())


def _one_way(solve: Callable[..., Run], *bound: Any) -> dict[str, Callable[[Job], Run]]:
    return {"": functools.partial(solve, *bound)}


def _two_ways(batch: Callable[..., Run]) -> dict[str, Callable[[Job], Run]]:
    # Two threads wait for each other at every operation: on a busy machine one is faster.
    return {f"threads: {n}": functools.partial(in_torch, batch, n) for n in (CORES, 1)}


TOOLS: dict[str, Tool] = {
    "diffrax, vmap": Tool(
        _one_way(in_diffrax, vmapped),
        ("diffrax",),
        "Tsit5; half the seeds, up to 32, side by side on each of two devices; ends by event",
    ),
    "diffrax, map": Tool(
        _one_way(in_diffrax, mapped),
        ("diffrax",),
        "Tsit5; half the seeds, one after another, on each of two devices; ends by event",
    ),
    "SciPy DOP853": Tool(
        _one_way(in_scipy, "DOP853"), ("scipy",), "two processes of one thread; ends by event"
    ),
    "SciPy LSODA": Tool(
        _one_way(in_scipy, "LSODA"),
        ("scipy",),
        "two processes of one thread; lband = uband = 0; ends by event",
    ),
    "torchdiffeq": Tool(
        _two_ways(torchdiffeq_batch),
        ("torch", "torchdiffeq"),
        "dopri5; a batch of 4 to 64 seeds, by size, is one state with one step; ends at the "
        "reference's time of the slowest seed in the batch",
    ),
    "torchode": Tool(
        _two_ways(torchode_batch),
        ("torch", "torchode"),
        "tsit5, not compiled; a batch of 4 to 64 seeds, by size, with a step each; ends at each "
        "seed's reference time",
    ),
    "PyTorch descent": Tool(
        _two_ways(descent_batch),
        ("torch",),
        f"steps of {STEP} fastest time scales at the start (Min et al., A.2), batches of 4 to 64; "
        "the only tool without step control, and with an error of the order of its step; ends at "
        "the goal, or capped, and then its time is a lower bound",
    ),
}
