"""The camera: a long lens in front of the head, and the head's pose before it."""

from dataclasses import dataclass

import numpy as np

# A portrait lens 1.6 m away keeps the perspective mild.
DISTANCE = 16.0
# Half the height of the picture, decimetres at the turning axis.
HALF_HEIGHT = 1.50
# The picture's centre lies this far below the eyes, so that hair and chin both fit.
CENTRE_BELOW_EYES = 0.09


def rotation(yaw=0.0, pitch=0.0, roll=0.0):
    """Rotation of the head before the camera.

    Parameters
    ----------
    yaw : float, degrees
        Positive turns the nose towards the right edge of the picture (the subject's left).
    pitch : float, degrees
        Positive lifts the nose.
    roll : float, degrees
        Positive tips the crown towards the left edge of the picture.

    Returns
    -------
    float64 array (3, 3); `points @ rotation.T` are camera-space points
    """
    y, p, r = np.radians([yaw, -pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


@dataclass(frozen=True)
class Camera:
    """Pose and lens of one picture.

    Attributes
    ----------
    turn : float64 array (3, 3)
        From head space to camera space (x right, y up, z towards the camera).
    size : int
        Side of the square picture in pixels.
    half_height : float
        Half the picture's height at the turning axis, decimetres.
    distance : float
        Camera to turning axis, decimetres.
    centre : float
        Height of the picture's centre relative to the eyes, decimetres.
    shift : tuple (x, y)
        Where the head lies in the picture: to the right and up of the standard place, decimetres.
    """

    turn: np.ndarray
    size: int
    half_height: float = HALF_HEIGHT
    distance: float = DISTANCE
    centre: float = -CENTRE_BELOW_EYES
    shift: tuple = (0.0, 0.0)

    def to_camera(self, points):
        """Points (n, 3) of head space in camera space."""
        return points @ self.turn.T

    def project_camera(self, points):
        """Pixels (n, 2) and distances (n,) of points in camera space."""
        away = self.distance - points[:, 2]
        focal = self.distance / self.half_height * self.size / 2
        right, up = np.array(self.shift) / self.half_height * self.size / 2
        x = points[:, 0] / away * focal + self.size / 2 + right
        y = -(points[:, 1] - self.centre) / away * focal + self.size / 2 - up
        return np.stack([x, y], 1), away

    def project(self, points):
        """Pixels (n, 2) and distances (n,) of points in head space.

        Pixel coordinates run from (0, 0), the outer corner of the first pixel, to (size, size); a
        pixel's centre is at half integers.
        """
        return self.project_camera(self.to_camera(np.atleast_2d(points)))


def make_camera(yaw=0.0, pitch=0.0, roll=0.0, size=224, shift=(0.0, 0.0), zoom=1.0):
    """A camera of the standard framing, or shifted (decimetres) and zoomed (1: as it is).

    Angles in degrees, see `rotation`.
    """
    return Camera(rotation(yaw, pitch, roll), size, HALF_HEIGHT / zoom, shift=tuple(shift))
