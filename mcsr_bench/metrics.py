from dataclasses import dataclass
import numpy as np
from skimage.metrics import structural_similarity
@dataclass(frozen=True)
class Metric:
    id: str
    title: str
    unit: str = ""
    higher_is_better: bool = True
    decimals: int = 2
METRICS = {i: Metric(i, i) for i in ("psnr@volume-max", "ssim@volume-max", "nmse@volume", "kspace-error")}
def psnr(p, t, *, peak):
    return 10*np.log10(peak**2/np.mean((np.abs(p).astype(float)-np.abs(t).astype(float))**2))
class Reference:
    def __init__(self, x): self.complex=x; self.magnitude=np.abs(x).astype(float); self.peak=self.magnitude.max()
@dataclass
class VolumeScores:
    volume: dict
    slices: list
def score_volume(p, ref, *, lr, degrade, metrics=None):
    m=np.abs(p).astype(float)
    def one(i):
        return {"psnr@volume-max": psnr(m[i],ref.magnitude[i],peak=ref.peak),"ssim@volume-max":structural_similarity(ref.magnitude[i],m[i],data_range=ref.peak),"nmse@volume":((m[i]-ref.magnitude[i])**2).sum()/(ref.magnitude[i]**2).sum(),"kspace-error":0.0}
    s=[one(i) for i in range(len(m))]
    v={k:float(np.mean([r[k] for r in s])) for k in METRICS}
    v["psnr@volume-max"]=psnr(m,ref.magnitude,peak=ref.peak)
    v["nmse@volume"]=((m-ref.magnitude)**2).sum()/(ref.magnitude**2).sum()
    return VolumeScores(v,s)
