"""A sweep in a process of its own, to be killed, doubled and distributed.

python worker.py STORE WAIT [PROCESS PROCESSES PORT], WAIT the seconds between two blocks.
"""

import os
import signal
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # loading from the cache is not worth a message

import jax
import jax.random as jr

# What is started in the background of a script ignores interrupts, and hands that on.
signal.signal(signal.SIGINT, signal.default_int_handler)
store, wait, *cluster = sys.argv[1:]
jax.config.update("jax_enable_x64", True)
if cluster:
    process, processes, port = map(int, cluster)
    jax.distributed.initialize(f"localhost:{port}", processes, process)

import jaxflow as jf  # noqa: E402

sweep = jf.Sweep(
    jf.data.gaussian(jr.key(7), 4, 9, 1),
    jf.init.Gaussian(),
    over={"width": [10, 10**6], "alpha": [0.3, 0.5]},
    seeds=240,
    until=jf.until.loss_ratio(1e-3),
    measures=[jf.measures.Level(), jf.measures.OffSpanDistance()],
    block=24,
)


def progress(done, total):
    if done:  # the first call comes before compiling
        print(done, flush=True)
    time.sleep(float(wait))


if __name__ == "__main__":
    start = time.perf_counter()
    dataset = jf.run(sweep, store=store, progress=progress)
    print("seconds", time.perf_counter() - start, "compile", dataset.attrs["seconds_compile"])
