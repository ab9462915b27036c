"""Run the demo: `python -m sandbox.demo`, as `make demo` does."""

import argparse
import sys


def main() -> int:
    """Parse the options, run the demo, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.demo",
        description="Watch the worker publish lessons, with a local Supabase and a simulated Mux.",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep everything running at the end, as on a terminal"
    )
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="run N times as fast (0.5 to 5)"
    )
    arguments = parser.parse_args()
    try:
        from sandbox.demo.demo import demo
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed. Run `make demo` in a checkout.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return demo(keep=arguments.keep, speed=arguments.speed)


def _speed(text: str) -> float:
    speed = float(text)
    if not 0.5 <= speed <= 5:
        raise argparse.ArgumentTypeError("must be from 0.5 to 5")
    return speed


if __name__ == "__main__":
    sys.exit(main())
