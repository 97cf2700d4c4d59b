"""Builds what the tests in here need from a network: images and stunwall's packages. They themselves have none."""

import sys
from concurrent.futures import ThreadPoolExecutor

from vm.image import RELEASES, image, sweep
from vm.package import NEXT, package


def prepare(kernel: str) -> None:
    """Builds the image with that Linux, and the packages for it."""
    built = image(kernel, build=True)
    for version in ("", NEXT):
        print(f"{built.folder}: {package(built, version, build=True)}", file=sys.stderr)


def main() -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(prepare, RELEASES))
    sweep()


if __name__ == "__main__":
    main()
