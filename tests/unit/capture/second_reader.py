#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# A second reader, written from FORMAT.md alone: keeps the page honest. Prints the records of an undamaged recording,
# verbatim. Leaves out checksums, and asks zstd(1) to decompress.
import struct, subprocess, sys
def u(f,b,o): return struct.unpack_from('<'+f,b,o)
M=(1<<64)-1
def unzz(v): return ((v>>1)^(-(v&1)))&M
def columns(p,n,first):
    o=0
    def take(k):
        nonlocal o; r=p[o:o+k]; assert len(r)==k; o+=k; return r
    def col(rows):
        base,mask=struct.unpack('<QB',take(9)); v=[base]*rows
        for b in range(8):
            if mask>>b&1:
                pl=take(rows)
                for i in range(rows): v[i]|=pl[i]<<(8*b)
        return v
    nk,na=struct.unpack('<II',take(8)); kinds=[struct.unpack('<BBHI',take(8)) for _ in range(nk)]
    actors=[struct.unpack('<Q',take(8))[0] for _ in range(na)]
    order=take(n); hc=lambda t,s:s>=24 and (1<=t<=4 or 6<=t<=9 or t==16); ha=lambda t,s:s>=32 and (1<=t<=4 or t in(6,8))
    time=col(n); ck=[i for i in range(n) if hc(kinds[order[i]][0],kinds[order[i]][2])]
    back=col(len(ck)); new=iter(col(sum(b==0 for b in back)))
    words=[]
    for t,_,s,c in kinds: words.append({w:col(c) for w in range(s//8) if w!=1 and not(w==2 and hc(t,s))})
    seen=[0]*nk; recs=[]; t0=first
    for i in range(n):
        k=order[i]; t,_,s,c=kinds[k]; r=seen[k]; seen[k]+=1; t0=(t0+unzz(time[i]))&M
        w=[words[k][x][r] if x in words[k] else 0 for x in range(s//8)]; w[1]=t0; w[0]=w[0]&~0xffffff|s|t<<16; recs.append((t,s,w))
    ctx=[]; lastnew=0
    for j,i in enumerate(ck):
        t,s,w=recs[i]
        if back[j]==0: lastnew=(lastnew+unzz(next(new)))&M; c,S,P,A=lastnew,0,0,0
        else: c,S,P,A=ctx[j-back[j]]
        w[0]^=(S<<32)|(P<<48); w[2]=c
        S=(w[0]>>40&255) or S; P=(w[0]>>48) or P
        if ha(t,s):
            w[3]=0 if w[3]==0 else A if w[3]==1 else actors[w[3]-2]; A=w[3] or A
        ctx.append((c,S,P,A))
    assert o==len(p)
    return b''.join(struct.pack('<%dQ'%len(w),*w) for _,_,w in recs)
d=open(sys.argv[1],'rb').read(); at=u('H',d,10)[0]; out=b''
while at<len(d):
    hb,enc,fl,n,st,pk,raw=u('HBBIIII',d,at+8); first,=u('Q',d,at+48)
    p=subprocess.run(['zstd','-dcq'],input=d[at+hb:at+hb+st],capture_output=True,check=True).stdout; assert len(p)==pk
    r=p if enc==0 else columns(p,n,first); assert len(r)==raw; out+=r; at+=hb+st
sys.stdout.buffer.write(out)
