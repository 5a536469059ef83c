"""Let a server do the numbers: a noisy image goes there as a numpy array and comes back smoothed.

The method is a plain function on a pool of threads, so it may compute as long as it likes: nothing else waits for it.
Needs numpy (`pip install "wsrpc[numpy]"`). Takes a moment, prints both images, and checks the result on this side.
"""

import numpy as np

import wsrpc

server = wsrpc.Server("127.0.0.1", 0)  # port 0: one that is free


@server.method
def gaussian_blur(image, sigma):
    """A Gaussian is separable: smoothing the rows, then the columns, is the same as using the whole square at once."""
    image = np.array(image)  # it comes as a list of lists, since JSON has no arrays of numbers
    radius = int(4 * sigma)
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()  # so that the image keeps its brightness
    for axis in (0, 1):
        shifted = [weight * np.roll(image, shift - radius, axis) for shift, weight in enumerate(weights)]
        image = np.sum(shifted, axis=0)  # np.roll: what leaves at one edge comes in at the other
    return image  # a numpy array can be returned as it is


def blurred_here(image, sigma):
    """The same by another way, to check it: convolution is multiplication of the Fourier transforms."""
    radius = int(4 * sigma)
    offsets = np.arange(-radius, radius + 1)
    square = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * sigma**2))
    kernel = np.zeros_like(image)
    kernel[np.ix_(offsets, offsets)] = square / square.sum()  # its centre at 0, 0; negative offsets from the far edges
    return np.fft.ifft2(np.fft.fft2(image) * np.fft.fft2(kernel)).real


def draw(image):
    shades = " .:-=+*#%@"
    levels = np.clip(image * len(shades), 0, len(shades) - 1).astype(int)
    for row in levels[::2]:  # a character is about twice as high as wide
        print("".join(shades[level] for level in row))


rows, columns = np.mgrid[:40, :72]
from_centre = np.hypot(rows - 20, columns - 36)
disk = (from_centre < 14).astype(float)
noisy = disk + np.random.default_rng(seed=1).normal(scale=0.35, size=disk.shape)

with server, wsrpc.Client(server.url) as client:
    smooth = np.array(client.query("gaussian_blur", [noisy, 1.5]))

print("sent:")
draw(noisy)
print("\ncame back:")
draw(smooth)

difference = np.abs(smooth - blurred_here(noisy, 1.5)).max()
if difference > 1e-12:
    raise SystemExit(f"the answer is wrong by up to {difference}")
inside = from_centre < 9  # well away from the edge, where the disk itself is flat
print(f"\nnoise inside the disk: {noisy[inside].std():.2f} before, {smooth[inside].std():.2f} after")
print("the same as computed here, by Fourier transform: yes")
