"""Builds what the tests in here need from a network: the image and stunwall's package. They themselves have none."""

import sys
from concurrent.futures import ThreadPoolExecutor

from vm.image import image, sweep
from vm.package import NEXT, package, wheels


def main() -> None:
    with ThreadPoolExecutor() as pool:
        system = pool.submit(image, build=True)
        old, new = pool.submit(package, build=True), pool.submit(package, NEXT, build=True)
        got = pool.submit(wheels, build=True)
        got.result()
        print(f"image: {system.result().folder}\npackages: {old.result()} {new.result()}", file=sys.stderr)
    sweep()


if __name__ == "__main__":
    main()
