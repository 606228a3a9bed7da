import time, torch, numpy as np, sys
from multiprocessing import Pool
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from sdxl.mini.glyphs import glyph
def px(i): return glyph(i).pixels
if __name__=='__main__':
    torch.manual_seed(0); torch.set_num_threads(1)
    N=int(sys.argv[1]); STEPS=int(sys.argv[2]); B=16
    with Pool(2) as p: X=np.stack(p.map(px, range(N), chunksize=200))
    X=torch.from_numpy(X).permute(0,3,1,2)
    T=torch.from_numpy(np.stack([px(10**7+i) for i in range(256)])).permute(0,3,1,2).float()/127.5-1
    vae=AutoencoderKL(block_out_channels=(16,32,64),down_block_types=("DownEncoderBlock2D",)*3,up_block_types=("UpDecoderBlock2D",)*3,layers_per_block=1,norm_num_groups=8,latent_channels=4,sample_size=32,scaling_factor=1.0,force_upcast=False, mid_block_add_attention=False)
    print('params',sum(p.numel() for p in vae.parameters()))
    opt=torch.optim.AdamW(vae.parameters(),lr=2e-3,betas=(.9,.99),weight_decay=1e-4)
    t0=time.time()
    for step in range(STEPS):
        lr=2e-3*min(1,step/200)*(0.5+0.5*np.cos(np.pi*step/STEPS))
        for g in opt.param_groups: g['lr']=lr
        x=X[torch.randint(len(X),(B,))].float()/127.5-1
        post=vae.encode(x).latent_dist
        z=post.mean+ post.std*torch.randn_like(post.mean)
        y=vae.decode(z).sample
        kl=0.5*(post.mean**2+post.var-1-post.logvar).mean()
        loss=((y-x)**2).mean()+1e-3*kl   # weights to tune
        opt.zero_grad(); loss.backward(); torch.nn.utils.clip_grad_norm_(vae.parameters(),1.0); opt.step()
        if step%500==499:
            with torch.no_grad():
                m=vae.encode(T).latent_dist.mean; r=vae.decode(m).sample.clamp(-1,1)
                mse=((r-T)**2).mean((1,2,3))/4
                print(step+1, f'{time.time()-t0:.0f}s', 'psnr', float((-10*mse.log10()).mean()), 'of mean mse', float(-10*mse.mean().log10()),'latent std', m.std((0,2,3)).tolist(), 'kl',float(kl), flush=True)
    torch.save(vae.state_dict(),'/work/proto_vae.pt')
