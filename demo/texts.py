"""What the page says."""

from demo.engine import NOTHING

HEADER = """
<h1>OccFace</h1>
<p>One photo of a face with something in front of it, and the whole face in 3D. A network that is good on
clean photos (the teacher) taught another one (the student) to give the same answer when part of the face is
hidden.</p>
"""
EXPLANATION = """
**The three heads.** The teacher sees your clean photo first: that head is the reference. Then both networks
get the covered photo. The nearer a head stays to the reference, the less the object misled it.

**Seen / guessed.** A photo shows at most half of a head, and less when it is covered. *Seen / guessed*
paints green what the photo shows and orange what is inferred from all faces the network has learned from:
plausible, not measured.

**Difference, mm.** Each point is compared with the same point of the reference head. Size and place in the
picture do not count. *Neutral* compares only the shape of the face, *as in the photo* the expression too.

**A face that is covered already.** Choose *Nothing, as it is* in step 2. There is no clean photo then, and
what covers the face may mislead the teacher: its head is no reference.

**More photos of the same person** go to the student: one shape for all, and skin that one photo hides comes
from another.

**Download.** OBJ and PLY hold the face as in the photo. GLB holds the neutral head with its texture, named
blendshapes (ARKit's) and joints for neck, jaw and eyes, ready to animate.

**Your photo** stays on the computer that runs this app. It and what was made from it lie there in temporary
files, which are deleted within two hours and when the app is stopped.
"""
FAMILY_NAMES = {  # the first is chosen when the page opens
    "hand": "Hand",
    "medical_mask": "Medical mask",
    "sunglasses": "Sunglasses",
    "glasses": "Glasses",
    "scarf": "Scarf",
    "cap_brim": "Cap",
    "hair_strands": "Strands of hair",
    "microphone": "Microphone",
    "phone": "Phone",
    "cup": "Cup",
    "random_shape": "Coloured shape",
    "noise_patch": "Patch of noise",
    "stripes": "Stripes",
    "blur": "Blurred patch",
    "other_image": "Piece of another picture",
    NOTHING: "Nothing, as it is",
}
NO_EXTRA = "Nothing more"
EXTRA_FAMILIES = ("sunglasses", "glasses", "medical_mask", "hand", "cap_brim", "hair_strands", "phone", "cup")
EMPTY_VIEWER = "The three heads appear here."
