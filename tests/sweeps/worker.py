"""A sweep in a process of its own, to be killed, doubled and distributed.

Of descents: what is solved makes no difference to the store, and each process traces it anew.
"""

import signal
import time

import jax
import jax.random as jr
import optax

import jaxflow as jf

SEEDS, BLOCK = 240, 24
BLOCKS = 4 * SEEDS // BLOCK


def main(store, pipe, wait=0.0, cluster=()):
    """Run the sweep into `store`; `pipe` gets what is done after each block, then `wait` seconds.

    `cluster`: number of this process, of all processes, and the port at which they meet.
    """
    # What a forkserver starts may ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    jax.config.update("jax_enable_x64", True)
    if cluster:
        process, processes, port = cluster
        jax.distributed.initialize(f"localhost:{port}", processes, process)
    sweep = jf.Sweep(
        jf.data.gaussian(jr.key(7), 4, 9, 1),
        jf.init.Gaussian(),
        over={"width": [10, 10**6], "learning_rate": [0.01, 0.02]},
        seeds=SEEDS,
        descent={"optimizer": optax.sgd, "steps": 500},
        until=jf.until.loss_ratio(1e-3),
        measures=[jf.measures.Level(), jf.measures.OffSpanDistance()],
        block=BLOCK,
    )

    def progress(doing, done, total):
        if done:  # the first call comes before compiling
            pipe.send(done)
        time.sleep(wait)

    jf.run(sweep, store=store, progress=progress)
    if cluster:
        # What a forkserver starts leaves without the handlers of an exit, and the process that
        # leads the others would take them down if it ended first.
        jax.distributed.shutdown()
