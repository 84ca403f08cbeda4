/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <avatar/device.h>
#include <avatar/model.h>

G_BEGIN_DECLS

/**
 * SECTION:image
 * @title: AvatarImage
 * @short_description: portraits: loading, finding the face, and fitting to the size of the video
 *
 * Functions on different images may run in different threads.
 */

/**
 * AvatarImage:
 * @width: width in pixels
 * @height: height in pixels
 * @stride: bytes from one row to the next
 * @channels: 3 (RGB) or 4 (RGBA)
 * @data: pixels of 8 bits for each channel, [@height, @stride] bytes from the top; owned by the
 *   image
 * @shrunk: pixels of the file for each pixel of the image, along a side; 0 means 1
 *
 * A picture. Only the library makes it, so later versions may append fields.
 *
 * Since: 0.1
 */
typedef struct _AvatarImage AvatarImage;
struct _AvatarImage
{
  guint width, height, stride, channels;
  guint8 *data;
  guint shrunk;
};

/**
 * AvatarBox:
 * @x: left edge in pixels
 * @y: upper edge in pixels
 * @width: width in pixels
 * @height: height in pixels
 *
 * A rectangle of whole pixels. All zero means none.
 *
 * Since: 0.1
 */
typedef struct _AvatarBox AvatarBox;
struct _AvatarBox
{
  guint x, y, width, height;
};

/**
 * AvatarFaceBox:
 * @x: left edge in pixels
 * @y: upper edge in pixels
 * @width: width in pixels
 * @height: height in pixels
 *
 * A rectangle with edges between pixels, which may extend beyond the picture. All zero means none.
 *
 * Since: 0.1
 */
typedef struct _AvatarFaceBox AvatarFaceBox;
struct _AvatarFaceBox
{
  double x, y, width, height;
};

/**
 * avatar_image_load:
 * @path: a PNG or JPEG file
 * @error: return location for a #GError: #AVATAR_ERROR_NOT_FOUND, #AVATAR_ERROR_READ,
 *   #AVATAR_ERROR_FORMAT, #AVATAR_ERROR_DATA if it has too many pixels
 *
 * Loads a picture. Applies its EXIF orientation and converts its colour profile to sRGB. A very
 * large JPEG file is loaded at half of its size (see shrunk in #AvatarImage).
 *
 * Returns: (transfer full) (nullable): the image, to be freed with avatar_image_free(), or %NULL on
 * error
 *
 * Since: 0.1
 */
AVATAR_API AvatarImage *avatar_image_load (const char *path, GError **error);

/**
 * avatar_image_new:
 * @width: width in pixels
 * @height: height in pixels
 * @channels: 3 (RGB) or 4 (RGBA)
 * @stride: bytes from one row of @data to the next
 * @data: pixels of 8 bits for each channel, [@height, @stride] bytes from the top
 * @error: return location for a #GError: #AVATAR_ERROR_DATA
 *
 * Makes an image with a copy of @data.
 *
 * Returns: (transfer full) (nullable): the image, to be freed with avatar_image_free(), or %NULL on
 * error
 *
 * Since: 0.1
 */
AVATAR_API AvatarImage *avatar_image_new (guint width, guint height, guint channels, guint stride,
    const guint8 *data, GError **error);

/**
 * avatar_image_free:
 * @image: (nullable) (transfer full): an image
 *
 * Frees an image and its pixels.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_image_free (AvatarImage *image);

/**
 * avatar_image_fit:
 * @image: the portrait
 * @model: the model
 * @width: width of the video in pixels; 0, with @height: the size that the model prefers
 * @height: height of the video in pixels; 0, with @width: the size that the model prefers
 * @box: (inout) (optional): on entry the face in pixels of the file, completely inside the
 *   portrait; on return the visible part of it in pixels of the result. All zero: none
 * @error: return location for a #GError: #AVATAR_ERROR_SETTINGS for an impossible size,
 *   #AVATAR_ERROR_DATA
 *
 * Crops the portrait to the shape of the video, and scales it with a Lanczos filter. Alpha is
 * blended over mid-grey. The crop is centred; if the face would come closer to an edge than half of
 * its width or height, the crop moves by as many whole pixels as needed.
 *
 * A model that makes videos of several shapes, such as the released one, prefers the shape of the
 * portrait, rounded to multiples of size_multiple. Other models prefer their only size.
 *
 * Returns: (transfer full) (nullable): an RGB image whose sides are multiples of size_multiple in
 * #AvatarModelInfo, or %NULL on error
 *
 * Since: 0.1
 */
AVATAR_API AvatarImage *avatar_image_fit (const AvatarImage *image, AvatarModel *model, guint width,
    guint height, AvatarBox *box, GError **error);

/**
 * avatar_image_fit_face:
 * @image: the portrait
 * @model: the model
 * @width: width of the video in pixels; 0, with @height: the size that the model prefers
 * @height: height of the video in pixels; 0, with @width: the size that the model prefers
 * @face: (inout): on entry the face in pixels of @image, as avatar_image_find_face() returns it; on
 *   return in pixels of the result, neither rounded nor clipped. All zero: none
 * @error: return location for a #GError, as in avatar_image_fit()
 *
 * Fits a portrait as avatar_image_fit() does, around a face with edges between pixels.
 *
 * Returns: (transfer full) (nullable): an RGB image, or %NULL on error
 *
 * Since: 0.1
 */
AVATAR_API AvatarImage *avatar_image_fit_face (const AvatarImage *image, AvatarModel *model,
    guint width, guint height, AvatarFaceBox *face, GError **error);

/**
 * avatar_image_is_cropped:
 * @image: the portrait
 * @model: the model
 * @width: width of the video in pixels, as in avatar_image_fit()
 * @height: height of the video in pixels, as in avatar_image_fit()
 *
 * Checks whether avatar_image_fit() removes a part of the portrait.
 *
 * Returns: %TRUE if a part is removed
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_image_is_cropped (const AvatarImage *image, AvatarModel *model,
    guint width, guint height);

/**
 * AvatarFaceSearch:
 * @AVATAR_FACE_FOUND: a face was found
 * @AVATAR_FACE_NONE: no face was found
 * @AVATAR_FACE_NO_DETECTOR: the model has no face detector
 * @AVATAR_FACE_ERROR: the search failed and the #GError is set
 *
 * Result of avatar_image_find_face().
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_FACE_FOUND,
  AVATAR_FACE_NONE,
  AVATAR_FACE_NO_DETECTOR,
  AVATAR_FACE_ERROR,
} AvatarFaceSearch;

/**
 * avatar_image_find_face:
 * @image: the portrait
 * @model: the model, whose detector is used (det_align/detface.pt of the release)
 * @device: the device of the stages, whose memory budget counts. The detector computes on the CPU
 * @width: width of the video in pixels, as in avatar_image_fit(), which sets the scale of the
 *   search
 * @height: height of the video in pixels, as in avatar_image_fit()
 * @box: (out caller-allocates): the largest face in pixels of @image; all zero: none
 * @error: return location for a #GError, set with %AVATAR_FACE_ERROR
 *
 * Searches the whole portrait for faces. Loads the detector, and frees it before it returns. Takes
 * about a second and some hundred MiB.
 *
 * Returns: the result of the search
 *
 * Since: 0.1
 */
AVATAR_API AvatarFaceSearch avatar_image_find_face (const AvatarImage *image, AvatarModel *model,
    AvatarDevice *device, guint width, guint height, AvatarFaceBox *box, GError **error);

/**
 * avatar_image_measure:
 * @image: a portrait that avatar_image_fit() or avatar_image_fit_face() made
 * @model: the model, whose VAE is used
 * @device: the device of the stages. The VAE computes on the CPU
 * @psnr: (out): peak signal-to-noise ratio (dB) of the portrait after the VAE's encoder and
 *   decoder, at most 99
 * @error: return location for a #GError: #AVATAR_ERROR_SETTINGS, #AVATAR_ERROR_MEMORY,
 *   #AVATAR_ERROR_READ, #AVATAR_ERROR_DATA
 *
 * Measures how much of a portrait the VAE loses. The video cannot be more similar to the portrait
 * than this. A value below portrait_psnr in #AvatarModelInfo means that the model was not trained
 * on pictures like this one. Loads the VAE, and frees it before it returns. Takes as long as the
 * first frame of a video. May be called from any thread.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_image_measure (const AvatarImage *image, AvatarModel *model,
    AvatarDevice *device, double *psnr, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarImage, avatar_image_free)

G_END_DECLS
