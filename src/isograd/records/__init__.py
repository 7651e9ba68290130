"""Nouns that cross a layer: frozen, typed, plain data."""

from isograd.records.chain import Chain as Chain
from isograd.records.chain import Link as Link
from isograd.records.chain import Segment as Segment
from isograd.records.chain import SegmentTerm as SegmentTerm
from isograd.records.finding import Diagnosis as Diagnosis
from isograd.records.finding import Evidence as Evidence
from isograd.records.finding import Finding as Finding
from isograd.records.history import Comparison as Comparison
from isograd.records.history import History as History
from isograd.records.history import Remedy as Remedy
from isograd.records.loss_call import LossCall as LossCall
from isograd.records.op import Edge as Edge
from isograd.records.op import Op as Op
from isograd.records.op import Term as Term
from isograd.records.parameter import LayerSpeed as LayerSpeed
from isograd.records.parameter import Missing as Missing
from isograd.records.parameter import ParameterStats as ParameterStats
from isograd.records.parameter import TimeGains as TimeGains
from isograd.records.ripple import Ripple as Ripple
from isograd.records.snapshot import Snapshot as Snapshot
from isograd.records.tensor_stats import AttentionStats as AttentionStats
from isograd.records.tensor_stats import TensorStats as TensorStats
from isograd.records.tensor_stats import UnitStats as UnitStats
from isograd.records.training import OptimizerFacts as OptimizerFacts
from isograd.records.training import ParameterTrack as ParameterTrack
from isograd.records.training import Training as Training
