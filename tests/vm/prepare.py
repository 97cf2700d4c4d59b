"""Builds what the tests in here need from a network: the image and stunwall's package. They themselves have none."""

import sys
from concurrent.futures import ThreadPoolExecutor

from vm.image import image
from vm.package import NEXT, package, sweep, wheels


def main() -> None:
    with ThreadPoolExecutor() as pool:
        system = pool.submit(image, build=True)
        old, new = pool.submit(package, build=True), pool.submit(package, NEXT, build=True)
        got = pool.submit(wheels, build=True)
        sweep([old.result().parent, new.result().parent, got.result()])
        print(f"image: {system.result().folder}\npackages: {old.result()} {new.result()}", file=sys.stderr)


if __name__ == "__main__":
    main()
