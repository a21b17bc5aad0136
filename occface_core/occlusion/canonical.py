"""A mean face as 468 points, the frame in which occluders are designed.

Made here from the CC0 mean head: the head was rendered, MediaPipe's face mesh placed its 468 points on the
picture, and each point was lifted to the surface under it and averaged with its mirror twin. Metres, x to the
subject's left, y up, z out of the face; the origin lies between the ears at nose height. Landmarks to think
with (x, y, z in cm): nose tip (0, -1.3, 6.6), eyes (+-3.2, 3.0, 3.9), chin (0, -8.5, 2.9), ears
(+-8.5, 0.5, -6), forehead (0, 8.1, 4.2), crown y = 14.6.
"""

import base64
from functools import lru_cache

import numpy as np

# Little-endian int16, 10 micrometres per unit.
_POINTS = (
    "003I@FBSj*%lgk5003C{TNM!gTLa4!003qEju`*|-vA01002k{LK1lIl?px#0021-"
    "ClUYvViDjH005sKZ4dwe9r214002|)cN72sAn*_r005rvF%$p*tnSAY0043A1Qh@P4eZJk004pM4H5tVi}}MC{r%MWr5CH__Y*Jw"
    "KK4lnA`b5J83;2DuJJ1f!wsMAhY1J_CivP2%?%~<hz&pwko9#9AP?&BIt`)@WAB>`#tp0Nzz0$aL-"
    "!fw2@aa>Ckycljpg15jsEZHEeY%gfb?4ZP!Bcz&how$ll^V*ArxHtHS&xUbNF2G5)**?W$>pH&iP94=n{_gvF)A@9sc3^3mMY=Uj"
    "6VGmFtlXNeeIe+XFKY=lIY2D-y=|IsNt!X6>o{Lk#f!n*hTWdGVJJKoAD*1Q1LP7U^afJq45diw;K-"
    "uJ`2(ybiYW6Y!G`(dXLm5BZb&Y5LI<dHkID-V;RjA@H~mKKDfMY!R#Mw-IFx)%eBwjS&F$I1nungY{t&DiWjeLmt-"
    "+`szv*<_S>ry%@I;73#qccL`tU(Gl|nTK!k?G!+K>5Ai${Ci%ti9}_D3`S}qO%Jwes0TI*pweR-ndG}xNw-"
    "Lkp9Qza(GWvh;QWNX@WAMBa*Zn*2*c0{qhw07{JN-NCSQK6Twe6=AgZ<;~Q53TMu<xi7-"
    "}(RVbrO^Lyzh?@B>5iiG7`M_Lhd~hYW6bpK@nEvp8Wy&000*Gco)6+74R4mQTYDvm=QevZuo8#r};to3liY`|M)Ew&h}{n9}o2Ms"
    "{mFGW%w!lj1cSW=o=Uc)9$es&kdvSz7j<ceD?|LtPscg&k@%W%=ro#8xqC%WFOcMyYHU}&kPmn*9C$ISov}Z(hZ~R0u28O$oh5#n"
    "Gj0)p!~-bhvyCiUIoeP4FqHg=k6E-"
    "cMNRviv#ElxAvn1G7c5_&jr&C%l)GWpAq2aqyB6Lmg+4GG6~}Tsrg?RY579|5fRnoBnf5t)cPC;yALn;5By9J?(N13Vhc3-"
    "RsN$C9_Ci}Vf94$ZVIRk0{pxGAQlVl#p-_pHSOo;mH>$5`u#Qg1?o8N`2ODJ&<%_N$@YKZ2Mi+rH2FUlUH5DM%n#k?u?Ri|-"
    "0{;1j1A)RoeAj;P4_nMsSr!(arp}bBl{}fj0y?#T;jtA<?xo|@&o_?_!wXk006??CJWH@z6p#Cp7#|B9}U0wKMGO}(CE1g=LSaiR"
    "t$g+OZ68G3J*f_Lk%tuH1XIBr4H`zA`J2jT;(zkr1^93F$(ew004IO4i%XAqV<;&gZjk!qZIP|Pxh@8008<6(h*efc<1W|Zu9Kqt"
    "qJq`(%?7_PU^Ai{`{!;Hwy+1QT&?((Gmavf#4etSoeA0;t5CQM)+Czp!?qMw-QnNPwzVu2m4^|uoJ`j678E4?)jDKiV;EhNbnmHq"
    "W5#~<q`Y#%kZ2Lmh@2at`BwV68QQERQxpu7!fu5u?qnYtNDKmVh*<WmhiF?B<tt#D+MS0m<z-"
    "ZefZbsl@9;_!2?DW<Nf6YC=&nxbq2Q+&H9)C*b)E$DC0*F004;Q*%2E2mgf5qHS=@q84W%5`}y7vr}e?<a}KZYQ2GZB_w#A@Z4ad"
    "GEcT-dMf+UiQ4o9iJpY9eB=KeH0tztnj^{HBMe&#KqYUck2le^^Kkg#$$_R(&2J;g72l5^CMh@rt`T{2s2K#~gd=`@V_4<7i@B17"
    "5xfh7}HVsA(-1R&TRu7f(gAOzg#_v)NP7cBCiVeFAG3@&Z-U%}0e**yg2=1;1ZVP_!@dd>Up7Z|&!3~S{m<A0FzxZVbM-"
    "D{#FbJ~_3*~JC-TJHfUHZ5ZQv5jr3KWt2Q2YBA*Zn8@02rM7_xi~fR{Ea#TM{+?;raI$a{g-"
    "h{}vVc9|{o;cKdP(5f3Q*^aubDG4GfQ*9#r)=?iWQ@Bv!`%M^$Zl?px#0|M0fr59Bh_Y*Jw!U;(TA`TJ^83;2DQVuH!!wq2(hY1J"
    "_+6USQ%?;ZOhz&pwa0+z|AP*J~It`)@oe-"
    "N0#tl^yzz0$ay$BiQ2@YlvCkycla~j?Vjs6i9EeY%gfD2mvP!G!j&how$Z31oZArzzqHS&xUjR#!u5)*&~W$>pHG6qWU=n`@YvF)"
    "A@;{oCN3mGl~Uj6VGYZQ?VNej^i+XFKY83)h%D-t>fIsNt!ni8q~LktiCn*hTWhYptzKoI&71Q1LP>K0}gJq2w9iw;K-"
    "QV8V?ybekX6Y!G`FBsbJ5BY5cY5LI<hXb7X-V?kDA@H~m!U#n0Y!Ouxw-IFxD+k5;jS&C}I1nuneF|X`DiU1{Lmt-"
    "+1{F#b<_WM1y%@I;>lMKdcL|{v(Gl|nrUF;-G!^;;5Ai${+6Kk&9~0ID`S}qOHVH290TC?-weR-nhX`Nrw-"
    "G%A9Qza(&INz)QWF&fWAMBaDFQq2*b@r_hw07{#R5C*SQMiIwe6=AeFEd|Q4~%Bu<xi7AqM~NbrNj`yzh?@+y)-"
    "+G7>}wLhd~hmI*TSK@qANp8Wy&LkAV`7!t1s{_mI(!~$;kZWLJtLHP?3AOrvSEfg{dX#yV)3=OLQRt}p7Dg2BO6%*(i7z!;Bu@}z"
    "`T@StzMG%At3GA#8IR(!V*Ag@a3K<&`I|pPR*bhYzp9s$k>lN1pf(WPvatYE6T@wNf{|Yz-"
    "b_JObwgsU4#}#=P4g_8WHxvy7WC|G(7z1|<lnjdl=nY8;qXaSz>juvS(+)KPqX?f7AQ+?mYzAr-EetXV9s#NOUl^ALLje&HD;p#U"
    "W%(=x90$7((FYIwOb`+h#tLE!%mr2cqZHy9R`+4`yasLxs15!DyZ;~-"
    "^%BMEe*?=B=jWCHcpCcsHT(M&IPUoVA{o#Pi~=_af8qxW-T*ZDKNq72YyZp-BN(v=J_RHW(+P|X9t@oc=?$|8Ht(qrwHI;u3k2N+"
    "D&LF>_X}L&!v`A=mgMpTFbcj2j16K46$&2>K?gqyQVlQ{xeVt9x(HSbfDW|^7Yzyzz6?VRE)UEO*bJo(5)dK`@(iRJG7qHrjSn#j"
    "@(gGPqV<;&eFen&qZAGUPxh@8tPgnS>jshx?BuNp4F%HRI1aKEvFrZ)SO+%?1`e+Sn*`Aks0exB;t9DKM)+CzU<BUpw-"
    "T=ePwzVu`2=9@uoFE6678E45(bs(iV?pDNbnmHUI=sW<q-"
    "u5%kZ2LY70>Et`Cb868QQEtOGR%7!k_^u?qnYRR(_xVh&0NmhiF?+!W{WD+SpCm<z-"
    "Zg9q2=l@A>P<pn4cGX<Cc*b?Rgmgf5q%M5eu84be;`}y7vSqj1Fa}H4tQ2GZB2@GlXZ4X=#EcT-dy98Y0Q4oa&JpY9e+zw^x0t(O"
    "zj^{HByAGG{qYM@o2le^^!4V?w$_RNF2J;g7`3)WPMh+PT`T{2s`UHXdd=_p7_4<7i5d<6kxfgf_HVsA(BnmtZRu5|pgAOzgIuKG"
    "0P7Xg3iVeFA&lCFz-U-ece**yg_z|uKZVQ4B@dd>UVhsNU!3}i@m<A0FK?h|AM-IFNFbJ~_^%`vh-"
    "TGAqUHZ5Zt^+v&3KVYxQ2YBADFP?@02pKg_xi~fss*0;TN29w;raI$jsa@<{}$^79|{o;iUe{A5f9h{^aubD&k&dk*9+qj=?iWQ"
)

# int8, 127 = 1.
_NORMALS = (
    "0NQx~&2#{mNzFcE06B61Ol1HtcBAA{0ONcB?S23%cmSnY0FOEVi!uOZO#m`=011Bp)p!86XaJZ<#h5CD4H^#me)i*g*3NCH@>}~O"
    "dh+gl4&!^!{dT<TX|)k$v)o?qsat~v7^eMN;0t=&@Obf&JjU#Ay4qv!l|td1NU`c+z{Xw7FlnLRPPQmthxjFv6F;{3XVyzy)YERa"
    ";bV;!Fxb9j_{egw>0pQ75$}j6tO8%i$Yaf_Pow}>jpZ-"
    "sx@Y3*dBG=Vm>5OTCvTMbLW~MC<+EYiwP4S+THe8F&975B8*a+2Pp`g6-=k3QlR)!}Fzdu_-Og~|0(<2*Z}M(F^oS_nb1cI^Teb*"
    "iuoPi~?+pNnE#r|l>xm}40&KAUW3BgK&mVEy7<aA?V4xmNt|VH*{%^S3V)Nd5@FRKUDs{HlV5b&X+9Gtb(^{`JQIr8gkPbSy7-"
    "q{7a^n$u=oNdtDP+AVWRUMVrQ%c0nK!HxU4jJ>voBe~3U0IUWSKZIh2jUa%T};ON0ibqmBu84?+}dGA%_Piue(LrjwjC#bddu-"
    "(93B8#&OJBNsZqt;fNcluPvUsDgYjQ0E8MT$!pteIN1exl=wpYy=)1?Z}!e~<jrw2jQWEK6tdV{01bY+A7#LuF4G}$0R4ZO&N-"
    "sWL(is5jnN$6xn!|4RREk$znUk6=MU+1E!<mC&LnTg?{Lw_XVs!g$*)nh(p<0jVxHkkvoct}(qrPqY|yS$lH4@6>t@5-"
    "X#hZO#X4XBKW>{PL;%Qg00e*7{dlb8TiOkIwcB9A_ixYucBki8%-L<37Du7iNvYUWu-{#a-"
    "XogaLWbiNzw&ITA6BH!NT0tms1jM?wqy9maq8H2+r4GN!d$iTWrF(=z!GfG40Y%Oee(o<+8uVlD`kTE5URL4s4h>i%v8UmJG8t@#"
    "@%bfoioXkBGCJGtR7mcBv+gIO|8sPGd^Qo<Wf7BDtrwZ^7?)X<9jO3ZCLVK1tWS6?tSv(docZWMC)lw5oJx>UJ<EVeFhj>{aPRkd"
    "L{6950N}N>~BWeV-"
    "b}?ADl=}>R~{}T{JLhU*AqjC|`N_C2bQwO8I9hOI<9}Zb{)|a~3ctzGVo=a!~1DdEXHch$mD6UpUBPGpbKq09SM6FBrOK9_o2NCu"
    "e9FMK33BZ23ZT3NstCVI{R-"
    "F|}GE!D%zEQ^p%^Hmy%lzDOaXP!N+q4T~@p#BL+ba3KPF8#iwbZaxf%C?InzJwRJZ2xm|fVSVon9g#N`i6%n=Y*7AVQ}<voA8{oZ"
    "cTx^uU>;3UBw9ZHZ%Er>4c>YXBY7JtbxPP^Sr%9(B6LmDT2VDoYym@X4mwB}W;GIW9T9sN6?;P|WJ4)raPK-"
    ">;!`r2H&hc{egzRtFIhecZcXuIXE-"
    "r?;s;F2R!~JpY|=1m#w3035Omlfc?Ty^yG19CCovCnZv#Fs%W3|`aWq>=bKff;h#Ob0En>PV*U4)oY&a(cd2IMX1iftc!*2@CbR5"
    "lb&5Zhe2^3D)Tt**dK%FivA#!HUIbO;`F{Vp%(HtSUWKT3zL7FFg=MNWkEhJk}G9+&~?{F{2XDgygH?L7k(p*vaVq)P-"
    "O)^+P(qkUQY%s1=Zrn6U>t;RMX*)V#WhF!?{diR5TP6*8OWR;R_ir!&c3J0FG}&!u7Dr##NmtlZP~Tm3-Xmt*LVDvBLGo-"
    "^A68t>NMXM-SQ1$twqpp#aTeHjCB0=n!dy%8Wq$h+KoV>)40RX-"
    "eGLSDCLMM_D`kHA5LUQ5ST0Xc%v3?7J50PwI^AnMoijI+A~5@QR32JYBv)nnO;gNK"
)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


@lru_cache(maxsize=1)
def canonical_points() -> np.ndarray:
    """(468,3) float32 points of the mean face in metres (read-only)."""
    raw = np.frombuffer(base64.b85decode(_POINTS), "<i2").reshape(468, 3)
    return _read_only(raw.astype(np.float32) * np.float32(1e-5))


@lru_cache(maxsize=1)
def canonical_normals() -> np.ndarray:
    """(468,3) float32 unit outward normals at the points (read-only)."""
    raw = np.frombuffer(base64.b85decode(_NORMALS), np.int8).reshape(468, 3).astype(np.float32)
    return _read_only(raw / np.linalg.norm(raw, axis=1, keepdims=True))
